//! Automatic names of layers, as Keras makes them: `conv2d`, `conv2d_1`, `max_pooling2d`.

use std::collections::HashSet;

/// Gives out names that are unique within one model.
#[derive(Clone, Debug, Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Reserves a name that was given; false where it is taken.
    pub fn reserve(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_string())
    }

    /// The next free name of a class.
    pub fn next(&mut self, class_name: &str) -> String {
        let base = snake_case(class_name);
        let mut name = base.clone();
        let mut count = 0;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{base}_{count}");
        }
        name
    }
}

/// Keras' `to_snake_case`: `MaxPooling2D` to `max_pooling2d`, `ReLU` to `re_lu`.
pub fn snake_case(class_name: &str) -> String {
    let chars: Vec<char> = class_name.chars().collect();
    let mut out = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let lower = |j: usize| chars.get(j).is_some_and(|c| c.is_lowercase());
        if i > 0 && c.is_uppercase() && (lower(i + 1) || lower(i - 1)) {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_keras() {
        for (class, name) in [
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("MaxPooling2D", "max_pooling2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("BatchNormalization", "batch_normalization"),
            ("ReLU", "re_lu"),
            ("LeakyReLU", "leaky_re_lu"),
            ("InputLayer", "input_layer"),
            ("UpSampling2D", "up_sampling2d"),
            ("ZeroPadding2D", "zero_padding2d"),
        ] {
            assert_eq!(snake_case(class), name);
        }
        let mut names = Names::default();
        assert_eq!(names.next("Dense"), "dense");
        assert!(names.reserve("dense_1"));
        assert_eq!(names.next("Dense"), "dense_2");
        assert!(!names.reserve("dense"));
    }
}
