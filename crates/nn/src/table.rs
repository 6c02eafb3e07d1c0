//! Tables of things with Keras names: one line a thing drives the enum, parsing, serde and the help texts.
//!
//! In: a name ("adam", "Adam"), Keras' `{"class_name": .., "config": {..}}`, or a recipe's table
//! `{"name": "adam", "learning_rate": 1e-4}`. Out: a checked config struct, or one line that says what is
//! wrong and what would be right. Invariant: `from_value(to_value(x)) == x`.

use crate::suggest::{no_argument, plain};
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor, value};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

/// The arguments of one thing of a table, as data.
pub trait Config: Serialize + DeserializeOwned {
    /// One line about the first argument with an impossible value.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Whether Keras writes this into configs of the kind and it changes nothing here.
fn is_inert(key: &str, value: &Value) -> bool {
    match key {
        "name" | "dtype" => true,
        "reduction" => value == "sum_over_batch_size",
        "axis" => value == -1,
        "from_sorted_ids" => value == false,
        "loss_scale_factor" | "gradient_accumulation_steps" => value.is_null(),
        _ => false,
    }
}

/// Names compare without case and underscores: "RMSprop", "rmsprop" and "rms_prop" are one.
pub fn same_name(a: &str, b: &str) -> bool {
    fn folded(s: &str) -> impl Iterator<Item = char> + '_ {
        s.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase)
    }
    folded(a).eq(folded(b))
}

/// Splits what a config file says into a name and arguments. `what` names the kind ("optimizer").
pub fn split(what: &str, value: Value) -> Result<(String, Map<String, Value>), String> {
    let mut map = match value {
        Value::String(name) => return Ok((name, Map::new())),
        Value::Object(map) => map,
        other => return Err(format!("{what} must be a name or a table with a name; got {other}")),
    };
    if let Some(class) = map.shift_remove("class_name") {
        let Value::String(class) = class else {
            return Err(format!("the class_name of {what} must be a string; got {class}"));
        };
        let mut config = match map.shift_remove("config") {
            Some(Value::Object(config)) => config,
            Some(Value::Null) | None => Map::new(),
            Some(other) => {
                return Err(format!("the config of {what} '{}' must be a table; got {other}", plain(&class)));
            }
        };
        // Keras' own files have these beside the config; whatever else stands there is an argument too.
        map.retain(|k, _| !["module", "registered_name", "build_config"].contains(&k.as_str()));
        config.extend(map);
        config.retain(|k, v| !is_inert(k, v));
        return Ok((class, config));
    }
    match map.shift_remove("name") {
        Some(Value::String(name)) => Ok((name, map)),
        _ => Err(format!("{what} needs a name, as in {{ name = \"..\" }}")),
    }
}

/// Names of a config's arguments, in order of declaration.
pub fn arguments<T: Config>() -> &'static [&'static str] {
    let mut fields = Fields(&[]);
    // Always an error: the fields are noted on the way.
    let _ = T::deserialize(&mut fields);
    fields.0
}

/// Reads and checks the arguments of `name`; what is not given has Keras' default.
pub fn read<T: Config>(name: &str, config: Map<String, Value>) -> Result<T, String> {
    let known = arguments::<T>();
    if let Some(key) = config.keys().find(|k| !known.contains(&k.as_str())) {
        return Err(no_argument(name, key, known));
    }
    let config: T = serde_json::from_value(Value::Object(config)).map_err(|e| format!("{name}: {e}"))?;
    config.validate().map_err(|e| format!("{name}: {e}"))?;
    Ok(config)
}

/// Keras' form of a config.
pub fn keras_form<T: Serialize>(class_name: &str, config: &T) -> Value {
    let config = serde_json::to_value(config).unwrap_or(Value::Null);
    serde_json::json!({ "class_name": class_name, "config": config })
}

/// A deserializer that only notes which fields a struct asks for.
struct Fields(&'static [&'static str]);

impl<'de> Deserializer<'de> for &mut Fields {
    type Error = value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, value::Error> {
        self.0 = fields;
        Err(value::Error::custom("fields noted"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, value::Error> {
        Err(value::Error::custom("not a struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// `value` must be finite and above zero.
pub fn positive(argument: &str, value: f64) -> Result<(), String> {
    check(value.is_finite() && value > 0.0, argument, "must be > 0", value)
}

/// `value` must be finite and not negative.
pub fn not_negative(argument: &str, value: f64) -> Result<(), String> {
    check(value.is_finite() && value >= 0.0, argument, "must be >= 0", value)
}

/// `value` must be in [0, 1).
pub fn below_one(argument: &str, value: f64) -> Result<(), String> {
    check((0.0..1.0).contains(&value), argument, "must be in [0, 1)", value)
}

/// `value` must be in [0, 1].
pub fn fraction(argument: &str, value: f64) -> Result<(), String> {
    check((0.0..=1.0).contains(&value), argument, "must be in [0, 1]", value)
}

fn check(ok: bool, argument: &str, rule: &str, value: f64) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("{argument} {rule}; got {value}")) }
}

/// Declares the enum of a table: `Variant "keras_name" ["alias", ..];` a line; each variant holds the config
/// struct of the same name. Also declares `each!(value, config => expression)`, which applies an expression
/// to the config of whichever variant it is. (`$`: the dollar sign, which the inner macro needs.)
macro_rules! keras_table {
    (
        ($d:tt) $(#[$doc:meta])* $table:ident $what:literal:
        $($variant:ident $name:literal [$($alias:literal),*];)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug)]
        pub enum $table {
            $(#[doc = concat!("`", $name, "`.")] $variant($variant),)*
        }

        impl $table {
            /// Every name, in the order of the table.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Keras' snake-case name.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// Keras' class name.
            pub fn class_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant),)* }
            }

            /// The arguments that `name` takes.
            pub fn arguments(name: &str) -> Result<&'static [&'static str], String> {
                $(if [$name $(, $alias)*].iter().any(|n| $crate::table::same_name(n, name)) {
                    return Ok($crate::table::arguments::<$variant>());
                })*
                Err($crate::suggest::unknown($what, name, Self::NAMES))
            }

            /// By Keras name (either spelling) with arguments; the rest has Keras' defaults.
            pub fn from_config(
                name: &str,
                config: serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, String> {
                $(if [$name $(, $alias)*].iter().any(|n| $crate::table::same_name(n, name)) {
                    return $crate::table::read($name, config).map(Self::$variant);
                })*
                Err($crate::suggest::unknown($what, name, Self::NAMES))
            }

            /// One line about the first argument with an impossible value.
            pub fn validate(&self) -> Result<(), String> {
                match self {
                    $(Self::$variant(c) => {
                        $crate::table::Config::validate(c).map_err(|e| format!("{}: {e}", $name))
                    })*
                }
            }

            /// Arguments as data.
            pub fn config(&self) -> serde_json::Value {
                match self {
                    $(Self::$variant(c) => serde_json::to_value(c).unwrap_or_default(),)*
                }
            }
        }

        macro_rules! each {
            ($d value:expr, $d config:ident => $d body:expr) => {
                match $d value {
                    $($table::$variant($d config) => $d body,)*
                }
            };
        }

        $(impl From<$variant> for $table {
            fn from(config: $variant) -> Self {
                Self::$variant(config)
            }
        })*
    };
}

/// The enum's `FromStr` and serde, for tables that are used on their own.
macro_rules! keras_serde {
    ($table:ident $what:literal) => {
        impl $table {
            /// From a name, Keras' `{"class_name", "config"}`, or a table of a name and arguments.
            pub fn from_value(value: serde_json::Value) -> Result<Self, String> {
                let (name, config) = $crate::table::split($what, value)?;
                Self::from_config(&name, config)
            }
        }

        impl std::str::FromStr for $table {
            type Err = String;
            fn from_str(name: &str) -> Result<Self, String> {
                Self::from_config(name, serde_json::Map::new())
            }
        }

        impl serde::Serialize for $table {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                $crate::table::keras_form(self.class_name(), &self.config()).serialize(s)
            }
        }

        impl<'de> serde::Deserialize<'de> for $table {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(d)?;
                Self::from_value(value).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use {keras_serde, keras_table};
