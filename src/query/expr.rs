//! A parsed expression: our own tree, with compiled matchers, resolved
//! functions and numbered selectors, so that it is parsed once and evaluated
//! often.
//!
//! Types are checked when it is built: an argument is what its function needs.

use super::error::Error;
use super::function_table::Function;
use super::parse;
use crate::model::Matcher;

/// An expression with its text.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub(crate) text: String,
    pub(crate) expr: Expr,
    /// In the order in which they are written; [`Expr::Vector`] and
    /// [`Expr::Matrix`] point here.
    pub(crate) selectors: Vec<Selector>,
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

    /// What its value will be.
    pub fn value_type(&self) -> ValueType {
        self.expr.value_type()
    }

    /// The outermost comparison's threshold when the expression has the form
    /// `… > number`, with its operator: a line that a chart can draw.
    pub fn threshold(&self) -> Option<(BinaryOp, f64)> {
        match &self.expr {
            Expr::Binary(binary) if binary.op.is_comparison() && !binary.return_bool => match &binary.right {
                Expr::Number(value) => Some((binary.op, *value)),
                _ => None,
            },
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
}

/// A function with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub function: Function,
    pub args: Vec<Expr>,
}

/// `left op right`
#[derive(Clone, Debug)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    pub return_bool: bool,
    pub matching: Matching,
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
    Quantile,
    CountValues,
}

impl Expr {
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Number(_) => ValueType::Scalar,
            Expr::String(_) => ValueType::String,
            Expr::Vector(_) | Expr::Aggregate(_) => ValueType::Vector,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Negate(inner) => inner.value_type(),
            Expr::Binary(binary) => match (binary.left.value_type(), binary.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Expr::Call(call) => call.function.returns(),
        }
    }
}
