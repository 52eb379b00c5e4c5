//! A parsed expression: our own tree, with compiled matchers, resolved
//! functions and numbered selectors, so that it is parsed once and evaluated
//! often.
//!
//! Types are checked when it is built: an argument is what its function needs.

pub(crate) use super::duration_expr::DurationExpr;
use super::error::Error;
use super::function_table::Function;
use super::parse;
use super::parse_call::NOT_WRITTEN;
use crate::model::Matcher;

/// An expression with its text.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub(crate) text: String,
    pub(crate) expr: Expr,
    /// In the order in which they are written; [`Expr::Vector`] and
    /// [`Expr::Matrix`] point here.
    pub(crate) selectors: Vec<Selector>,
    /// Whether any duration in it depends on the query's times.
    pub(crate) has_open_durations: bool,
}

impl Parsed {
    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The selectors in it, in the order in which they are written.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The whole tree.
    pub fn root(&self) -> &Expr {
        &self.expr
    }

    /// The arguments of a call without what the parser put there.
    pub fn written<'c>(&self, call: &'c Call) -> impl Iterator<Item = &'c Expr> {
        call.args.iter().filter(|arg| match arg {
            Expr::Vector(at) => self.selectors.get(*at).is_none_or(|s| s.start != NOT_WRITTEN),
            _ => true,
        })
    }

    /// What its value will be.
    pub fn value_type(&self) -> ValueType {
        self.expr.value_type()
    }

    /// The outermost comparison's threshold when the expression has the form
    /// `… > number`, with its operator: a line that a chart can draw.
    pub fn threshold(&self) -> Option<(BinaryOp, f64)> {
        match self.expr.bare() {
            Expr::Binary(binary) if binary.op.is_comparison() && !binary.return_bool => {
                match binary.right.bare() {
                    Expr::Number(value) => Some((binary.op, *value)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

impl Expr {
    /// Reads PromQL. Errors are [`Error::Parse`].
    pub fn parse(text: &str) -> Result<Parsed, Error> {
        parse::parse(text)
    }
}

/// One selector of an expression.
#[derive(Clone, Debug)]
pub struct Selector {
    /// Lists of matchers, of which one must hold altogether; more than one
    /// list only for `{a="1" or b="2"}`.
    pub alternatives: Vec<Vec<Matcher>>,
    /// Length of the range in ms (`[5m]`); `None` for an instant selector.
    pub range_ms: Option<i64>,
    pub offset_ms: i64,
    pub at: Option<At>,
    pub edges: Edges,
    /// The first byte of it in the text.
    pub start: usize,
    pub(crate) computed: Computed,
}

/// How a range selector sees its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edges {
    /// The samples within the range, as they are.
    #[default]
    Plain,
    /// `anchored`: what was known at the start and at the end, so that
    /// `increase` is the exact difference.
    Anchored,
    /// `smoothed`: values at the ends are interpolated.
    Smoothed,
}

/// Durations that depend on the query's times (`[step() * 2]`), and therefore
/// become numbers only when it is evaluated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Computed {
    pub range: Option<DurationExpr>,
    pub step: Option<DurationExpr>,
    pub offset: Option<DurationExpr>,
}

impl Computed {
    pub fn is_empty(&self) -> bool {
        self.range.is_none() && self.step.is_none() && self.offset.is_none()
    }
}

/// The `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Start,
    End,
    TimeMs(i64),
}

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Vector,
    Matrix,
    String,
}

impl ValueType {
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }
}

/// A node of the tree.
#[derive(Clone, Debug)]
pub enum Expr {
    Number(f64),
    String(String),
    /// An instant selector, by its place in [`Parsed::selectors`].
    Vector(usize),
    /// A range selector, by its place in [`Parsed::selectors`].
    Matrix(usize),
    Subquery(Box<Subquery>),
    /// Parentheses, which mean nothing more once it is read.
    Paren(Box<Expr>),
    Negate(Box<Expr>),
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Call),
}

/// `expr[range:step] @ … offset …`
#[derive(Clone, Debug)]
pub struct Subquery {
    pub expr: Expr,
    pub range_ms: i64,
    /// `None`: the default step.
    pub step_ms: Option<i64>,
    pub offset_ms: i64,
    pub at: Option<At>,
    pub(crate) computed: Computed,
}

/// A function with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: Function,
    pub args: Vec<Expr>,
    /// The first byte of it, and of each argument, in the text.
    pub start: usize,
    pub arg_starts: Vec<usize>,
}

/// `left op right`
#[derive(Clone, Debug)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    pub return_bool: bool,
    pub matching: Matching,
    /// The first byte of it in the text.
    pub start: usize,
}

/// How the sides of an operator find each other.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// `on` (true) or `ignoring` these labels.
    pub on: bool,
    pub labels: Vec<String>,
    pub group: Group,
    /// Labels of the "one" side that the result takes over.
    pub include: Vec<String>,
    /// What stands for a series that the left or the right side lacks.
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

/// Which side may have many series for one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    /// `</`: a histogram without what is above.
    TrimUpper,
    /// `>/`: a histogram without what is below.
    TrimLower,
}

impl BinaryOp {
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Greater => ">",
            BinaryOp::Less => "<",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::LessEqual => "<=",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
        }
    }

    /// How tightly it binds, from 1 up; `^` alone is right-associative.
    pub(crate) fn precedence(self) -> u8 {
        use BinaryOp::*;
        match self {
            Or => 1,
            And | Unless => 2,
            Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual | TrimUpper | TrimLower => 3,
            Add | Sub => 4,
            Mul | Div | Mod | Atan2 => 5,
            Pow => 6,
        }
    }
}

/// `op by (labels) (param, expr)`
#[derive(Clone, Debug)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub expr: Expr,
    pub param: Option<Expr>,
    /// `without` these labels (true), or by them.
    pub without: bool,
    pub labels: Vec<String>,
    /// The first byte of the vector, and of the parameter, in the text.
    pub expr_start: usize,
    pub param_start: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    LimitK,
    LimitRatio,
    Quantile,
    CountValues,
}

impl AggregateOp {
    const NAMES: [(&str, AggregateOp); 14] = [
        ("sum", AggregateOp::Sum),
        ("avg", AggregateOp::Avg),
        ("min", AggregateOp::Min),
        ("max", AggregateOp::Max),
        ("count", AggregateOp::Count),
        ("group", AggregateOp::Group),
        ("stddev", AggregateOp::Stddev),
        ("stdvar", AggregateOp::Stdvar),
        ("topk", AggregateOp::TopK),
        ("bottomk", AggregateOp::BottomK),
        ("limitk", AggregateOp::LimitK),
        ("limit_ratio", AggregateOp::LimitRatio),
        ("quantile", AggregateOp::Quantile),
        ("count_values", AggregateOp::CountValues),
    ];

    /// What all of them are called.
    pub fn names() -> impl Iterator<Item = &'static str> {
        AggregateOp::NAMES.iter().map(|(name, _)| *name)
    }

    /// The aggregation called `name`, in capitals or not.
    pub fn named(name: &str) -> Option<Self> {
        let found = AggregateOp::NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        found.map(|(_, op)| *op)
    }

    pub fn as_str(self) -> &'static str {
        AggregateOp::NAMES.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Type of its parameter, if it has one.
    pub fn parameter(self) -> Option<ValueType> {
        use AggregateOp::*;
        match self {
            TopK | BottomK | LimitK | LimitRatio | Quantile => Some(ValueType::Scalar),
            CountValues => Some(ValueType::String),
            _ => None,
        }
    }
}

impl Expr {
    /// Without the parentheses around it.
    pub fn bare(&self) -> &Expr {
        match self {
            Expr::Paren(inner) => inner.bare(),
            other => other,
        }
    }

    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Vector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Negate(inner) | Expr::Paren(inner) => inner.value_type(),
            Expr::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Expr::Call(call) => call.function.returns(),
        }
    }
}
