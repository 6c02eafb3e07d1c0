//! The optimizer: a rule with a learning rate, weight decay and gradient clipping.

use super::{Now, Rule, SlotSpec, UpdateRule, Updated, Var, clip, each};
use crate::schedules::Schedule;
use crate::suggest::no_argument;
use crate::table::{Config, arguments, keras_form, not_negative, positive, read, split};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use thalweg_graph::{DType, Graph, NodeId};

/// An optimizer. Source: keras.io/api/optimizers.
#[derive(Clone, PartialEq, Debug)]
pub struct Optimizer {
    /// The rule and its own arguments.
    pub rule: Rule,
    /// The rate, a number or a schedule. Default: the rule's.
    pub learning_rate: Schedule,
    /// w in `value -= value * w * learning_rate`, before the update. Default none; 0.004 for AdamW.
    pub weight_decay: Option<f64>,
    /// The largest L2 norm of one variable's gradient. Default none.
    pub clipnorm: Option<f64>,
    /// The largest size of a gradient's element. Default none.
    pub clipvalue: Option<f64>,
    /// The largest L2 norm of all gradients together. Default none.
    pub global_clipnorm: Option<f64>,
    /// The exponential mean of every variable, kept beside it. Default none.
    pub ema: Option<Ema>,
}

/// The exponential mean of variables: `mean = momentum * mean + (1 - momentum) * value` after every step, and after the
/// first step the value. Training ends with the means as weights. Keras: `use_ema`, `ema_momentum`,
/// `ema_overwrite_frequency`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ema {
    /// How much of the mean stays. Default 0.99.
    pub momentum: f64,
    /// Variables become their means after every so many steps. Default never, but for the end of training.
    pub overwrite_frequency: Option<u32>,
}

impl Default for Ema {
    fn default() -> Self {
        Ema { momentum: 0.99, overwrite_frequency: None }
    }
}

/// Name of the slot that holds a variable's exponential mean.
pub const AVERAGE: &str = "average";

/// The arguments that every optimizer has, as they are in files.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Common {
    learning_rate: Option<Schedule>,
    weight_decay: Option<f64>,
    clipnorm: Option<f64>,
    clipvalue: Option<f64>,
    global_clipnorm: Option<f64>,
    use_ema: bool,
    ema_momentum: Option<f64>,
    ema_overwrite_frequency: Option<u32>,
}

impl Config for Common {}

/// What a step works on.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// Every trainable variable.
    pub vars: &'a [Var],
    /// Values of [`Optimizer::scalar_slots`] before the step, f32 scalars.
    pub scalars: &'a [NodeId],
    /// i32 scalar, steps before this one: 0 in the first step.
    pub iteration: NodeId,
    /// f32 scalar, this step's rate.
    pub learning_rate: NodeId,
}

/// What a step gives.
#[derive(Clone, PartialEq, Debug)]
pub struct Updates {
    /// Per variable, in order.
    pub vars: Vec<Updated>,
    /// New values of the scalar slots, in order.
    pub scalars: Vec<NodeId>,
}

fn defaults<R: UpdateRule>(_: &R) -> (f64, Option<f64>) {
    (R::LEARNING_RATE, R::WEIGHT_DECAY)
}

impl<R: Into<Rule>> From<R> for Optimizer {
    fn from(rule: R) -> Self {
        let rule = rule.into();
        let (learning_rate, weight_decay) = each!(&rule, r => defaults(r));
        Optimizer {
            rule,
            learning_rate: learning_rate.into(),
            weight_decay,
            clipnorm: None,
            clipvalue: None,
            global_clipnorm: None,
            ema: None,
        }
    }
}

impl Optimizer {
    /// Keras' snake-case name.
    pub fn name(&self) -> &'static str {
        self.rule.name()
    }

    /// With this rate, a number or a schedule.
    pub fn learning_rate(mut self, rate: impl Into<Schedule>) -> Self {
        self.learning_rate = rate.into();
        self
    }

    /// With this weight decay.
    pub fn weight_decay(mut self, decay: f64) -> Self {
        self.weight_decay = Some(decay);
        self
    }

    /// With each variable's gradient clipped to this norm.
    pub fn clipnorm(mut self, norm: f64) -> Self {
        self.clipnorm = Some(norm);
        self
    }

    /// With each element of a gradient clipped to this size.
    pub fn clipvalue(mut self, value: f64) -> Self {
        self.clipvalue = Some(value);
        self
    }

    /// With all gradients clipped together to this norm.
    pub fn global_clipnorm(mut self, norm: f64) -> Self {
        self.global_clipnorm = Some(norm);
        self
    }

    /// With an exponential mean of every variable of this momentum.
    pub fn ema(mut self, momentum: f64) -> Self {
        self.ema = Some(Ema { momentum, ..Ema::default() });
        self
    }

    /// States that each variable needs, of its shape, f32; the mean is the last.
    pub fn slots(&self) -> Vec<SlotSpec> {
        let mut slots = each!(&self.rule, r => r.slots());
        slots.extend(self.ema.map(|_| SlotSpec::zeros(AVERAGE)));
        slots
    }

    /// Scalar f32 states that the optimizer needs once.
    pub fn scalar_slots(&self) -> Vec<SlotSpec> {
        each!(&self.rule, r => r.scalar_slots())
    }

    /// New values of all variables and slots.
    pub fn apply(&self, g: &mut Graph, step: Apply<'_>) -> Updates {
        let grads = clip::clipped(g, self, step.vars);
        let one = g.constant_of(DType::I32, 1.0);
        let t = g.add(step.iteration, one);
        let t = g.cast(t, DType::F32);
        let scalars = each!(&self.rule, r => r.next_scalars(g, step.scalars, t));
        let now = Now { t, learning_rate: step.learning_rate, scalars: scalars.clone() };
        let mut updated = Vec::with_capacity(step.vars.len());
        for (var, grad) in step.vars.iter().zip(grads) {
            let value = self.decayed(g, var, step.learning_rate);
            let own = self.ema.map_or(0, |_| 1);
            let (slots, mean) = var.slots.split_at(var.slots.len() - own);
            let var = Var { value, grad, slots: slots.to_vec(), decay: var.decay };
            let mut next = each!(&self.rule, r => r.update(g, &var, &now));
            if let (Some(ema), [mean]) = (self.ema, mean) {
                ema.follow(g, &mut next, *mean, t);
            }
            updated.push(next);
        }
        Updates { vars: updated, scalars }
    }

    fn decayed(&self, g: &mut Graph, var: &Var, learning_rate: NodeId) -> NodeId {
        match self.weight_decay {
            Some(decay) if var.decay && decay > 0.0 => {
                let part = g.scale(learning_rate, decay);
                let lost = g.mul(var.value, part);
                g.sub(var.value, lost)
            }
            _ => var.value,
        }
    }

    /// One line about the first argument with an impossible value.
    pub fn validate(&self) -> Result<(), String> {
        self.rule.validate()?;
        self.check().map_err(|e| format!("{}: {e}", self.name()))
    }

    fn check(&self) -> Result<(), String> {
        self.learning_rate.validate().map_err(|e| match self.learning_rate {
            Schedule::Constant(_) => e.replacen("constant: ", "", 1),
            _ => e,
        })?;
        if let Some(decay) = self.weight_decay {
            not_negative("weight_decay", decay)?;
        }
        let clips = [
            ("clipnorm", self.clipnorm),
            ("clipvalue", self.clipvalue),
            ("global_clipnorm", self.global_clipnorm),
        ];
        let given: Vec<_> = clips.iter().filter_map(|(name, value)| value.map(|v| (*name, v))).collect();
        if let [(a, _), (b, _), ..] = given[..] {
            return Err(format!(
                "only one of clipnorm, clipvalue and global_clipnorm may be set; got {a} and {b}"
            ));
        }
        given.iter().try_for_each(|(name, value)| positive(name, *value))?;
        match self.ema {
            Some(Ema { momentum, .. }) if !(0.0..=1.0).contains(&momentum) => {
                Err(format!("ema_momentum must be in [0, 1]; got {momentum}"))
            }
            Some(Ema { overwrite_frequency: Some(0), .. }) => {
                Err("ema_overwrite_frequency must be at least 1, or left out; got 0".into())
            }
            _ => Ok(()),
        }
    }

    /// The arguments that the optimizer `name` takes.
    pub fn arguments(name: &str) -> Result<Vec<&'static str>, String> {
        Ok([arguments::<Common>(), Rule::arguments(name)?].concat())
    }

    /// By Keras name (either spelling) with arguments; the rest has Keras' defaults.
    pub fn from_config(name: &str, config: Map<String, Value>) -> Result<Self, String> {
        let known = Self::arguments(name)?;
        if let Some(key) = config.keys().find(|k| !known.contains(&k.as_str())) {
            return Err(no_argument(name, key, &known));
        }
        let (common, own): (Map<_, _>, Map<_, _>) =
            config.into_iter().partition(|(k, _)| arguments::<Common>().contains(&k.as_str()));
        let decay_given = common.contains_key("weight_decay");
        let common: Common = read(name, common)?;
        let mut optimizer = Optimizer::from(Rule::from_config(name, own)?);
        if let Some(rate) = common.learning_rate {
            optimizer.learning_rate = rate;
        }
        if decay_given {
            optimizer.weight_decay = common.weight_decay;
        }
        optimizer.clipnorm = common.clipnorm;
        optimizer.clipvalue = common.clipvalue;
        optimizer.global_clipnorm = common.global_clipnorm;
        optimizer.ema = common.use_ema.then(|| Ema {
            momentum: common.ema_momentum.unwrap_or(Ema::default().momentum),
            overwrite_frequency: common.ema_overwrite_frequency,
        });
        optimizer.validate()?;
        Ok(optimizer)
    }

    /// From a name, Keras' `{"class_name", "config"}`, or a table of a name and arguments.
    pub fn from_value(value: Value) -> Result<Self, String> {
        let (name, config) = split("optimizer", value)?;
        Self::from_config(&name, config)
    }

    /// Arguments as data: those of every optimizer, then the rule's.
    pub fn config(&self) -> Value {
        let common = Common {
            learning_rate: Some(self.learning_rate.clone()),
            weight_decay: self.weight_decay,
            clipnorm: self.clipnorm,
            clipvalue: self.clipvalue,
            global_clipnorm: self.global_clipnorm,
            use_ema: self.ema.is_some(),
            ema_momentum: Some(self.ema.unwrap_or_default().momentum),
            ema_overwrite_frequency: self.ema.and_then(|e| e.overwrite_frequency),
        };
        let mut all = serde_json::to_value(common).unwrap_or_default();
        if let (Value::Object(all), Value::Object(own)) = (&mut all, self.rule.config()) {
            all.extend(own);
        }
        all
    }
}

impl Ema {
    /// The mean after a step whose new value is in `next`; `t` counts steps from 1.
    fn follow(self, g: &mut Graph, next: &mut Updated, mean: NodeId, t: NodeId) {
        let one = g.constant(1.0);
        let later = g.lt(one, t);
        let (kept, zero) = (g.constant(self.momentum), g.constant(0.0));
        let momentum = g.select(later, kept, zero);
        let new = g.sub(one, momentum);
        let (old, new) = (g.mul(momentum, mean), g.mul(new, next.value));
        let mean = g.add(old, new);
        if let Some(every) = self.overwrite_frequency {
            // Steps are whole and below 2^24, so that their remainder is exact.
            let turns = g.scale(t, 1.0 / f64::from(every));
            let half = g.offset(turns, 0.5 / f64::from(every));
            let whole = g.floor(half);
            let whole = g.scale(whole, f64::from(every));
            let due = g.eq(whole, t);
            next.value = g.select(due, mean, next.value);
        }
        next.slots.push(mean);
    }
}

impl std::str::FromStr for Optimizer {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        Self::from_config(name, Map::new())
    }
}

impl Serialize for Optimizer {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        keras_form(self.rule.class_name(), &self.config()).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Optimizer {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
