//! How training pictures are changed: the words and their bounds.
//!
//! Input: a table of words, as a recipe has it. Output: a checked [`Augment`]. Invariant: what is not said is as in
//! [`Augment::default`]; [`Augment::none`] changes nothing.

use crate::error::{DataError, Result};
use serde::{Deserialize, Serialize};

/// How training pictures are changed. Probabilities go from 0 to 1; what they are compared with differs from picture
/// to picture and epoch to epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// How often a picture is mirrored, left to right.
    pub horizontal_flip: f64,
    /// How often a picture is mirrored, top to bottom.
    pub vertical_flip: f64,
    /// The most that is added to or taken from the hue, in turns of the colour circle.
    pub hue: f64,
    /// The most by which saturation grows or shrinks, as a share of it.
    pub saturation: f64,
    /// The most by which value (brightness) grows or shrinks, as a share of it.
    pub value: f64,
    /// The most that a picture is turned, in degrees either way.
    pub rotation: f64,
    /// The most that a picture is moved, as a share of its sides.
    pub translation: f64,
    /// The most by which a picture grows or shrinks, as a share of it.
    pub scale: f64,
    /// The most that columns and rows lean, in degrees either way.
    pub shear: f64,
    /// How much farther away one edge of the picture may be than its middle, as a share.
    pub perspective: f64,
    /// How often a picture is made of four.
    pub mosaic: f64,
    /// How often two such pictures are laid over each other.
    pub mixup: f64,
    /// How often only a part of a picture is shown. Pictures made of four are not cut.
    pub crop: f64,
    /// The least part that is shown, as a share of the picture's area.
    pub crop_area: f64,
    /// Boxes of which less than this share is still visible are left out.
    pub min_visibility: f64,
    /// Boxes with a side of fewer pixels are left out.
    pub min_side: f64,
    /// In so many epochs at the end, pictures are neither made of four nor laid over each other.
    pub plain_epochs: u32,
}

impl Default for Augment {
    fn default() -> Augment {
        Augment {
            horizontal_flip: 0.5,
            hue: 0.015,
            saturation: 0.7,
            value: 0.4,
            translation: 0.1,
            scale: 0.5,
            mosaic: 1.0,
            plain_epochs: 10,
            ..Augment::none()
        }
    }
}

impl Augment {
    /// Pictures as they are.
    pub fn none() -> Augment {
        Augment {
            horizontal_flip: 0.0,
            vertical_flip: 0.0,
            hue: 0.0,
            saturation: 0.0,
            value: 0.0,
            rotation: 0.0,
            translation: 0.0,
            scale: 0.0,
            shear: 0.0,
            perspective: 0.0,
            mosaic: 0.0,
            mixup: 0.0,
            crop: 0.0,
            crop_area: 0.3,
            min_visibility: 0.2,
            min_side: 2.0,
            plain_epochs: 0,
        }
    }

    /// All words.
    pub fn words() -> Vec<String> {
        let all = serde_json::to_value(Augment::default()).unwrap_or_default();
        all.as_object().map(|words| words.keys().cloned().collect()).unwrap_or_default()
    }

    /// From a table of words; those that are missing are as in [`Augment::default`].
    pub fn from_value(value: serde_json::Value) -> Result<Augment, String> {
        let augment: Augment = serde_json::from_value(value).map_err(|e| format!("augmentation: {e}"))?;
        augment.check().map_err(|e| e.to_string())?;
        Ok(augment)
    }

    /// Refuses what makes no sense.
    pub fn check(&self) -> Result<()> {
        let within = [
            ("horizontal_flip", self.horizontal_flip, 0.0, 1.0),
            ("vertical_flip", self.vertical_flip, 0.0, 1.0),
            ("hue", self.hue, 0.0, 0.5),
            ("saturation", self.saturation, 0.0, 1.0),
            ("value", self.value, 0.0, 1.0),
            ("rotation", self.rotation, 0.0, 180.0),
            ("translation", self.translation, 0.0, 1.0),
            ("scale", self.scale, 0.0, 0.95),
            ("shear", self.shear, 0.0, 60.0),
            ("perspective", self.perspective, 0.0, 0.5),
            ("mosaic", self.mosaic, 0.0, 1.0),
            ("mixup", self.mixup, 0.0, 1.0),
            ("crop", self.crop, 0.0, 1.0),
            ("crop_area", self.crop_area, 0.01, 1.0),
            ("min_visibility", self.min_visibility, 0.0, 1.0),
            ("min_side", self.min_side, 0.0, 1e6),
        ];
        match within.into_iter().find(|(_, value, low, high)| !(*low..=*high).contains(value)) {
            None => Ok(()),
            Some((name, value, low, high)) => {
                Err(DataError::argument(format!("{name} is {value}; it can be {low} to {high}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_are_read_and_checked() {
        let read = |value| Augment::from_value(value);
        assert_eq!(read(json!({})), Ok(Augment::default()));
        assert_eq!(read(json!({ "mosaic": 0 })).unwrap(), Augment { mosaic: 0.0, ..Augment::default() });
        assert!(
            read(json!({ "mosiac": 0.5 })).unwrap_err().contains("unknown field `mosiac`, expected one of")
        );
        assert_eq!(read(json!({ "mosaic": 1.5 })), Err("mosaic is 1.5; it can be 0 to 1".into()));
        assert!(read(json!({ "rotation": "far" })).unwrap_err().contains("invalid type"));
        assert!(Augment { hue: f64::NAN, ..Augment::none() }.check().is_err());
    }
}
