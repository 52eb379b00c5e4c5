//! The functions that the engine knows: their names and what they return.
//!
//! Argument counts and types are checked by the parser's own table; what is in
//! that table but not in this one is refused by name.

use super::expr::ValueType;

macro_rules! functions {
    ($($variant:ident $name:literal $returns:ident,)*) => {
        /// A function of PromQL, or `distinct_over_time`, which is ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function { $($variant,)* }

        impl Function {
            /// All of them.
            pub const ALL: &[Function] = &[$(Function::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Function::$variant => $name,)* }
            }

            pub fn returns(self) -> ValueType {
                match self { $(Function::$variant => ValueType::$returns,)* }
            }
        }
    };
}

functions! {
    Abs "abs" Vector,
    Acos "acos" Vector,
    Acosh "acosh" Vector,
    Asin "asin" Vector,
    Asinh "asinh" Vector,
    Atan "atan" Vector,
    Atanh "atanh" Vector,
    Ceil "ceil" Vector,
    Clamp "clamp" Vector,
    ClampMax "clamp_max" Vector,
    ClampMin "clamp_min" Vector,
    Cos "cos" Vector,
    Cosh "cosh" Vector,
    Deg "deg" Vector,
    Exp "exp" Vector,
    Floor "floor" Vector,
    Ln "ln" Vector,
    Log10 "log10" Vector,
    Log2 "log2" Vector,
    Rad "rad" Vector,
    Round "round" Vector,
    Sgn "sgn" Vector,
    Sin "sin" Vector,
    Sinh "sinh" Vector,
    Sqrt "sqrt" Vector,
    Tan "tan" Vector,
    Tanh "tanh" Vector,

    DayOfMonth "day_of_month" Vector,
    DayOfWeek "day_of_week" Vector,
    DayOfYear "day_of_year" Vector,
    DaysInMonth "days_in_month" Vector,
    Hour "hour" Vector,
    Minute "minute" Vector,
    Month "month" Vector,
    Year "year" Vector,
    Time "time" Scalar,
    Timestamp "timestamp" Vector,

    Absent "absent" Vector,
    LabelJoin "label_join" Vector,
    LabelReplace "label_replace" Vector,
    Pi "pi" Scalar,
    Scalar "scalar" Scalar,
    Sort "sort" Vector,
    SortByLabel "sort_by_label" Vector,
    SortByLabelDesc "sort_by_label_desc" Vector,
    SortDesc "sort_desc" Vector,
    Vector "vector" Vector,

    HistogramAvg "histogram_avg" Vector,
    HistogramCount "histogram_count" Vector,
    HistogramFraction "histogram_fraction" Vector,
    HistogramQuantile "histogram_quantile" Vector,
    HistogramStddev "histogram_stddev" Vector,
    HistogramStdvar "histogram_stdvar" Vector,
    HistogramSum "histogram_sum" Vector,

    Delta "delta" Vector,
    Idelta "idelta" Vector,
    Increase "increase" Vector,
    Irate "irate" Vector,
    Rate "rate" Vector,

    AbsentOverTime "absent_over_time" Vector,
    AvgOverTime "avg_over_time" Vector,
    Changes "changes" Vector,
    CountOverTime "count_over_time" Vector,
    Deriv "deriv" Vector,
    DistinctOverTime "distinct_over_time" Vector,
    DoubleExponentialSmoothing "double_exponential_smoothing" Vector,
    FirstOverTime "first_over_time" Vector,
    LastOverTime "last_over_time" Vector,
    MadOverTime "mad_over_time" Vector,
    MaxOverTime "max_over_time" Vector,
    MinOverTime "min_over_time" Vector,
    PredictLinear "predict_linear" Vector,
    PresentOverTime "present_over_time" Vector,
    QuantileOverTime "quantile_over_time" Vector,
    Resets "resets" Vector,
    StddevOverTime "stddev_over_time" Vector,
    StdvarOverTime "stdvar_over_time" Vector,
    SumOverTime "sum_over_time" Vector,
    TsOfFirstOverTime "ts_of_first_over_time" Vector,
    TsOfLastOverTime "ts_of_last_over_time" Vector,
    TsOfMaxOverTime "ts_of_max_over_time" Vector,
    TsOfMinOverTime "ts_of_min_over_time" Vector,
}

impl Function {
    /// The function called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Function::ALL.iter().copied().find(|function| function.name() == name)
    }
}
