//! The functions that the engine knows: their names, what they take and what
//! they return.
//!
//! All of Prometheus' are there, the experimental ones among them, and
//! `distinct_over_time`, which is ours.

use super::expr::ValueType;

/// How many arguments a function takes beside those that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Exactly,
    /// The last one may be left out.
    LastOptional,
    /// The last one may be there as often as wanted, or, where more than two
    /// are listed, be left out.
    LastRepeated,
}

macro_rules! functions {
    ($($variant:ident $name:literal [$($arg:ident),*] $arity:ident $returns:ident,)*) => {
        /// A function of PromQL, or `distinct_over_time`, which is ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function { $($variant,)* }

        impl Function {
            /// All of them, in the order of their names.
            pub const ALL: &[Function] = &[$(Function::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Function::$variant => $name,)* }
            }

            pub fn returns(self) -> ValueType {
                match self { $(Function::$variant => ValueType::$returns,)* }
            }

            /// Types of the arguments.
            pub fn takes(self) -> &'static [ValueType] {
                match self { $(Function::$variant => &[$(ValueType::$arg),*],)* }
            }

            pub fn arity(self) -> Arity {
                match self { $(Function::$variant => Arity::$arity,)* }
            }
        }
    };
}

functions! {
    Abs "abs" [Vector] Exactly Vector,
    Absent "absent" [Vector] Exactly Vector,
    AbsentOverTime "absent_over_time" [Matrix] Exactly Vector,
    Acos "acos" [Vector] Exactly Vector,
    Acosh "acosh" [Vector] Exactly Vector,
    Asin "asin" [Vector] Exactly Vector,
    Asinh "asinh" [Vector] Exactly Vector,
    Atan "atan" [Vector] Exactly Vector,
    Atanh "atanh" [Vector] Exactly Vector,
    AvgOverTime "avg_over_time" [Matrix] Exactly Vector,
    Ceil "ceil" [Vector] Exactly Vector,
    Changes "changes" [Matrix] Exactly Vector,
    Clamp "clamp" [Vector, Scalar, Scalar] Exactly Vector,
    ClampMax "clamp_max" [Vector, Scalar] Exactly Vector,
    ClampMin "clamp_min" [Vector, Scalar] Exactly Vector,
    Cos "cos" [Vector] Exactly Vector,
    Cosh "cosh" [Vector] Exactly Vector,
    CountOverTime "count_over_time" [Matrix] Exactly Vector,
    DayOfMonth "day_of_month" [Vector] LastOptional Vector,
    DayOfWeek "day_of_week" [Vector] LastOptional Vector,
    DayOfYear "day_of_year" [Vector] LastOptional Vector,
    DaysInMonth "days_in_month" [Vector] LastOptional Vector,
    Deg "deg" [Vector] Exactly Vector,
    Delta "delta" [Matrix] Exactly Vector,
    Deriv "deriv" [Matrix] Exactly Vector,
    DistinctOverTime "distinct_over_time" [Matrix] Exactly Vector,
    DoubleExponentialSmoothing "double_exponential_smoothing" [Matrix, Scalar, Scalar] Exactly Vector,
    End "end" [] Exactly Scalar,
    Exp "exp" [Vector] Exactly Vector,
    FirstOverTime "first_over_time" [Matrix] Exactly Vector,
    Floor "floor" [Vector] Exactly Vector,
    HistogramAvg "histogram_avg" [Vector] Exactly Vector,
    HistogramCount "histogram_count" [Vector] Exactly Vector,
    HistogramFraction "histogram_fraction" [Scalar, Scalar, Vector] Exactly Vector,
    HistogramQuantile "histogram_quantile" [Scalar, Vector] Exactly Vector,
    HistogramQuantiles "histogram_quantiles" [Vector, String, Scalar] LastRepeated Vector,
    HistogramStddev "histogram_stddev" [Vector] Exactly Vector,
    HistogramStdvar "histogram_stdvar" [Vector] Exactly Vector,
    HistogramSum "histogram_sum" [Vector] Exactly Vector,
    Hour "hour" [Vector] LastOptional Vector,
    Idelta "idelta" [Matrix] Exactly Vector,
    Increase "increase" [Matrix] Exactly Vector,
    Info "info" [Vector, Vector] LastOptional Vector,
    Irate "irate" [Matrix] Exactly Vector,
    LabelJoin "label_join" [Vector, String, String, String] LastRepeated Vector,
    LabelReplace "label_replace" [Vector, String, String, String, String] Exactly Vector,
    LastOverTime "last_over_time" [Matrix] Exactly Vector,
    Ln "ln" [Vector] Exactly Vector,
    Log10 "log10" [Vector] Exactly Vector,
    Log2 "log2" [Vector] Exactly Vector,
    MadOverTime "mad_over_time" [Matrix] Exactly Vector,
    MaxOf "max_of" [Scalar, Scalar] Exactly Scalar,
    MaxOverTime "max_over_time" [Matrix] Exactly Vector,
    MinOf "min_of" [Scalar, Scalar] Exactly Scalar,
    MinOverTime "min_over_time" [Matrix] Exactly Vector,
    Minute "minute" [Vector] LastOptional Vector,
    Month "month" [Vector] LastOptional Vector,
    Pi "pi" [] Exactly Scalar,
    PredictLinear "predict_linear" [Matrix, Scalar] Exactly Vector,
    PresentOverTime "present_over_time" [Matrix] Exactly Vector,
    QuantileOverTime "quantile_over_time" [Scalar, Matrix] Exactly Vector,
    Rad "rad" [Vector] Exactly Vector,
    Range "range" [] Exactly Scalar,
    Rate "rate" [Matrix] Exactly Vector,
    Resets "resets" [Matrix] Exactly Vector,
    Round "round" [Vector, Scalar] LastOptional Vector,
    Scalar "scalar" [Vector] Exactly Scalar,
    Sgn "sgn" [Vector] Exactly Vector,
    Sin "sin" [Vector] Exactly Vector,
    Sinh "sinh" [Vector] Exactly Vector,
    Sort "sort" [Vector] Exactly Vector,
    SortByLabel "sort_by_label" [Vector, String] LastRepeated Vector,
    SortByLabelDesc "sort_by_label_desc" [Vector, String] LastRepeated Vector,
    SortDesc "sort_desc" [Vector] Exactly Vector,
    Sqrt "sqrt" [Vector] Exactly Vector,
    Start "start" [] Exactly Scalar,
    StartTimestamp "start_timestamp" [Vector] Exactly Vector,
    StddevOverTime "stddev_over_time" [Matrix] Exactly Vector,
    StdvarOverTime "stdvar_over_time" [Matrix] Exactly Vector,
    Step "step" [] Exactly Scalar,
    SumOverTime "sum_over_time" [Matrix] Exactly Vector,
    Tan "tan" [Vector] Exactly Vector,
    Tanh "tanh" [Vector] Exactly Vector,
    Time "time" [] Exactly Scalar,
    Timestamp "timestamp" [Vector] Exactly Vector,
    TsOfFirstOverTime "ts_of_first_over_time" [Matrix] Exactly Vector,
    TsOfLastOverTime "ts_of_last_over_time" [Matrix] Exactly Vector,
    TsOfMaxOverTime "ts_of_max_over_time" [Matrix] Exactly Vector,
    TsOfMinOverTime "ts_of_min_over_time" [Matrix] Exactly Vector,
    Vector "vector" [Scalar] Exactly Vector,
    Year "year" [Vector] LastOptional Vector,
}

impl Function {
    /// The function called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Function::ALL.iter().copied().find(|function| function.name() == name)
    }

    /// Fewest arguments that it takes.
    pub fn least_arguments(self) -> usize {
        match self.arity() {
            Arity::Exactly => self.takes().len(),
            Arity::LastOptional | Arity::LastRepeated => self.takes().len().saturating_sub(1),
        }
    }
}
