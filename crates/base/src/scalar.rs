//! The table of scalar operations: name, arity, type rule, meaning in f64.
//!
//! To add one: its row here, its gradient arm in `thalweg-graph`, its spelling in each device language.
//! All matches on it are exhaustive, so the compiler names every place.

use crate::DType;

/// An operation on scalars, applied element by element.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it; the meaning is `eval`")]
pub enum ScalarOp {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Floor,
    Cos,
    Tanh,
    Sigmoid,
    Erf,
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
    Lt,
    Eq,
    And,
    /// `select(condition, then, otherwise)`.
    Select,
}

impl ScalarOp {
    /// Every operation.
    pub const ALL: [ScalarOp; 21] = [
        ScalarOp::Neg,
        ScalarOp::Abs,
        ScalarOp::Exp,
        ScalarOp::Log,
        ScalarOp::Sqrt,
        ScalarOp::Floor,
        ScalarOp::Cos,
        ScalarOp::Tanh,
        ScalarOp::Sigmoid,
        ScalarOp::Erf,
        ScalarOp::Add,
        ScalarOp::Sub,
        ScalarOp::Mul,
        ScalarOp::Div,
        ScalarOp::Max,
        ScalarOp::Min,
        ScalarOp::Pow,
        ScalarOp::Lt,
        ScalarOp::Eq,
        ScalarOp::And,
        ScalarOp::Select,
    ];

    /// Name in text forms.
    pub const fn name(self) -> &'static str {
        match self {
            ScalarOp::Neg => "neg",
            ScalarOp::Abs => "abs",
            ScalarOp::Exp => "exp",
            ScalarOp::Log => "log",
            ScalarOp::Sqrt => "sqrt",
            ScalarOp::Floor => "floor",
            ScalarOp::Cos => "cos",
            ScalarOp::Tanh => "tanh",
            ScalarOp::Sigmoid => "sigmoid",
            ScalarOp::Erf => "erf",
            ScalarOp::Add => "add",
            ScalarOp::Sub => "sub",
            ScalarOp::Mul => "mul",
            ScalarOp::Div => "div",
            ScalarOp::Max => "max",
            ScalarOp::Min => "min",
            ScalarOp::Pow => "pow",
            ScalarOp::Lt => "lt",
            ScalarOp::Eq => "eq",
            ScalarOp::And => "and",
            ScalarOp::Select => "select",
        }
    }

    /// The operation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == name)
    }

    /// Number of arguments.
    pub const fn arity(self) -> usize {
        match self {
            ScalarOp::Neg
            | ScalarOp::Abs
            | ScalarOp::Exp
            | ScalarOp::Log
            | ScalarOp::Sqrt
            | ScalarOp::Floor
            | ScalarOp::Cos
            | ScalarOp::Tanh
            | ScalarOp::Sigmoid
            | ScalarOp::Erf => 1,
            ScalarOp::Add
            | ScalarOp::Sub
            | ScalarOp::Mul
            | ScalarOp::Div
            | ScalarOp::Max
            | ScalarOp::Min
            | ScalarOp::Pow
            | ScalarOp::Lt
            | ScalarOp::Eq
            | ScalarOp::And => 2,
            ScalarOp::Select => 3,
        }
    }

    /// Result type for these argument types, or `None` where the operation is not defined on them.
    /// Arguments have one type (a condition is `Bool`); arithmetic is on floats, and on i32 and u32 for
    /// add, sub, mul, max, min (wrapping).
    pub fn infer(self, args: &[DType]) -> Option<DType> {
        let same = |args: &[DType]| args.iter().all(|&d| d == args[0]).then(|| args[0]);
        if args.len() != self.arity() {
            return None;
        }
        match self {
            ScalarOp::Neg | ScalarOp::Abs => Some(args[0]).filter(|d| d.is_float() || *d == DType::I32),
            ScalarOp::Exp
            | ScalarOp::Log
            | ScalarOp::Sqrt
            | ScalarOp::Floor
            | ScalarOp::Cos
            | ScalarOp::Tanh
            | ScalarOp::Sigmoid
            | ScalarOp::Erf
            | ScalarOp::Div
            | ScalarOp::Pow => same(args).filter(|d| d.is_float()),
            ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul | ScalarOp::Max | ScalarOp::Min => {
                same(args).filter(|d| d.is_float() || matches!(d, DType::I32 | DType::U32))
            }
            ScalarOp::Lt => same(args).filter(|&d| d != DType::Bool).map(|_| DType::Bool),
            ScalarOp::Eq => same(args).map(|_| DType::Bool),
            ScalarOp::And => same(args).filter(|&d| d == DType::Bool),
            ScalarOp::Select => same(&args[1..]).filter(|_| args[0] == DType::Bool),
        }
    }

    /// Whether a result may not be one of the argument's type before it is rounded: not where it is one of the arguments
    /// but for its sign or fraction, or a truth.
    pub const fn rounds(self) -> bool {
        match self {
            ScalarOp::Neg
            | ScalarOp::Abs
            | ScalarOp::Floor
            | ScalarOp::Max
            | ScalarOp::Min
            | ScalarOp::Lt
            | ScalarOp::Eq
            | ScalarOp::And
            | ScalarOp::Select => false,
            ScalarOp::Exp
            | ScalarOp::Log
            | ScalarOp::Sqrt
            | ScalarOp::Cos
            | ScalarOp::Tanh
            | ScalarOp::Sigmoid
            | ScalarOp::Erf
            | ScalarOp::Add
            | ScalarOp::Sub
            | ScalarOp::Mul
            | ScalarOp::Div
            | ScalarOp::Pow => true,
        }
    }

    /// The meaning where the result is of that type: a float rounded to it, integer arithmetic wrapping as devices do (a
    /// cast would saturate).
    pub fn eval_in(self, dtype: DType, a: &[f64]) -> f64 {
        if dtype.is_float() {
            return dtype.round(self.eval(a));
        }
        let i = |k: usize| a[k] as i64;
        let exact = match self {
            ScalarOp::Neg => i(0).wrapping_neg(),
            ScalarOp::Abs => i(0).wrapping_abs(),
            ScalarOp::Add => i(0).wrapping_add(i(1)),
            ScalarOp::Sub => i(0).wrapping_sub(i(1)),
            ScalarOp::Mul => i(0).wrapping_mul(i(1)),
            _ => return dtype.round(self.eval(a)),
        };
        match dtype {
            DType::I32 => f64::from(exact as i32),
            DType::U32 => f64::from(exact as u32),
            DType::Bool | DType::U8 | DType::F16 | DType::BF16 | DType::F32 => dtype.round(exact as f64),
        }
    }

    /// The meaning, in f64, not yet rounded to a type: see [`ScalarOp::eval_in`] for integers.
    pub fn eval(self, a: &[f64]) -> f64 {
        let truth = |b: bool| f64::from(u8::from(b));
        match self {
            ScalarOp::Neg => -a[0],
            ScalarOp::Abs => a[0].abs(),
            ScalarOp::Exp => a[0].exp(),
            ScalarOp::Log => a[0].ln(),
            ScalarOp::Sqrt => a[0].sqrt(),
            ScalarOp::Floor => a[0].floor(),
            ScalarOp::Cos => a[0].cos(),
            ScalarOp::Tanh => a[0].tanh(),
            ScalarOp::Sigmoid => 1.0 / (1.0 + (-a[0]).exp()),
            ScalarOp::Erf => libm::erf(a[0]),
            ScalarOp::Add => a[0] + a[1],
            ScalarOp::Sub => a[0] - a[1],
            ScalarOp::Mul => a[0] * a[1],
            ScalarOp::Div => a[0] / a[1],
            // A NaN on either side stays visible: a loss that became NaN must not be hidden by a clip.
            ScalarOp::Max if a[0].is_nan() || a[1].is_nan() => f64::NAN,
            ScalarOp::Min if a[0].is_nan() || a[1].is_nan() => f64::NAN,
            ScalarOp::Max => a[0].max(a[1]),
            ScalarOp::Min => a[0].min(a[1]),
            ScalarOp::Pow => a[0].powf(a[1]),
            ScalarOp::Lt => truth(a[0] < a[1]),
            ScalarOp::Eq => truth(a[0] == a[1]),
            ScalarOp::And => truth(a[0] != 0.0 && a[1] != 0.0),
            ScalarOp::Select => {
                if a[0] != 0.0 {
                    a[1]
                } else {
                    a[2]
                }
            }
        }
    }

    /// Floating-point operations it counts as, for cost reports (as in most profilers: transcendental = 1).
    pub const fn flops(self) -> u64 {
        match self {
            ScalarOp::Select | ScalarOp::And => 0,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for op in ScalarOp::ALL {
            assert_eq!(ScalarOp::from_name(op.name()), Some(op));
        }
    }

    #[test]
    fn type_rules() {
        use DType::{Bool, F32, I32, U8};
        assert_eq!(ScalarOp::Add.infer(&[F32, F32]), Some(F32));
        assert_eq!(ScalarOp::Add.infer(&[F32, I32]), None);
        assert_eq!(ScalarOp::Lt.infer(&[U8, U8]), Some(Bool));
        assert_eq!(ScalarOp::Select.infer(&[Bool, I32, I32]), Some(I32));
        assert_eq!(ScalarOp::Select.infer(&[F32, I32, I32]), None);
        assert_eq!(ScalarOp::Exp.infer(&[I32]), None);
        assert_eq!(ScalarOp::Neg.infer(&[F32, F32]), None);
    }

    #[test]
    fn integers_wrap() {
        let most = f64::from(i32::MAX);
        assert_eq!(ScalarOp::Add.eval_in(DType::I32, &[most, 1.0]), f64::from(i32::MIN));
        assert_eq!(ScalarOp::Sub.eval_in(DType::U32, &[1.0, 2.0]), f64::from(u32::MAX));
        let largest = f64::from(u32::MAX);
        assert_eq!(ScalarOp::Mul.eval_in(DType::U32, &[largest, largest]), 1.0);
        assert_eq!(ScalarOp::Lt.eval_in(DType::Bool, &[1.0, 2.0]), 1.0);
    }

    #[test]
    fn max_keeps_nan() {
        assert!(ScalarOp::Max.eval(&[f64::NAN, 0.0]).is_nan());
        assert_eq!(ScalarOp::Max.eval(&[-1.0, 0.0]), 0.0);
    }
}
