//! The grammar of all expressions, by recursive descent. Each `(` and `NOT` costs a level, and levels are bounded.

use super::{
    Placeholders,
    condition::{Comparison, Condition, Function, Operand},
    lexer::{Kind, Token, tokens},
    path::{Part, Path, none_overlap},
    reserved::is_reserved,
    short,
    update::{Action, Term, Update},
};
use crate::{Error, Value, invalid};

/// Deepest nesting of brackets, functions and negations.
const DEPTH_MAX: usize = 64;
/// Most operators and functions, AWS's.
const OPERATORS_MAX: usize = 300;
/// Most steps of a path, AWS's.
const PATH_PARTS_MAX: usize = 32;
/// Most values after IN, AWS's.
const IN_MAX: usize = 100;

pub struct Parser<'a> {
    expression: &'static str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    next: usize,
    depth: usize,
    operators: usize,
    placeholders: &'a Placeholders,
}

impl<'a> Parser<'a> {
    pub fn new(expression: &'static str, text: &'a str, placeholders: &'a Placeholders) -> Result<Self, Error> {
        let tokens = tokens(expression, text)?;
        Ok(Self { expression, text, tokens, next: 0, depth: 0, operators: 0, placeholders })
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), Error> {
        if self.peek().kind == Kind::End { Ok(()) } else { Err(self.unexpected()) }
    }

    /// `or := and (OR and)*`
    pub fn condition(&mut self) -> Result<Condition, Error> {
        let mut condition = self.conjunction()?;
        while self.keyword("OR") {
            self.operator()?;
            condition = Condition::Or(Box::new(condition), Box::new(self.conjunction()?));
        }
        Ok(condition)
    }

    /// `path (, path)*`
    pub fn paths(&mut self) -> Result<Vec<Path>, Error> {
        let mut paths = vec![self.path()?];
        while self.sign(",") {
            paths.push(self.path()?);
        }
        Ok(paths)
    }

    /// `(SET … | REMOVE … | ADD … | DELETE …)+`, each once.
    pub fn update(&mut self) -> Result<Update, Error> {
        const CLAUSES: [&str; 4] = ["SET", "REMOVE", "ADD", "DELETE"];
        let mut update = Update::default();
        let mut seen = Vec::new();
        while self.peek().kind != Kind::End {
            let Some(clause) = CLAUSES.into_iter().find(|clause| self.keyword(clause)) else {
                return Err(self.unexpected());
            };
            if seen.contains(&clause) {
                return Err(
                    self.invalid(&format!("The \"{clause}\" section can only be used once in an update expression;"))
                );
            }
            seen.push(clause);
            loop {
                let path = self.path()?;
                let action = match clause {
                    "SET" => {
                        self.expect("=")?;
                        Action::Set(self.sum()?)
                    }
                    "REMOVE" => Action::Remove,
                    _ => self.set_action(clause)?,
                };
                self.operator()?;
                update.actions.push((path, action));
                if !self.sign(",") {
                    break;
                }
            }
        }
        none_overlap(self.expression, update.paths())?;
        Ok(update)
    }

    /// `and := not (AND not)*`
    fn conjunction(&mut self) -> Result<Condition, Error> {
        let mut condition = self.negation()?;
        while self.keyword("AND") {
            self.operator()?;
            condition = Condition::And(Box::new(condition), Box::new(self.negation()?));
        }
        Ok(condition)
    }

    /// `not := NOT not | ( or ) | comparison`
    fn negation(&mut self) -> Result<Condition, Error> {
        if self.keyword("NOT") {
            self.operator()?;
            return self.deeper(|parser| Ok(Condition::Not(Box::new(parser.negation()?))));
        }
        if self.sign("(") {
            return self.deeper(|parser| {
                let condition = parser.condition()?;
                parser.expect(")")?;
                Ok(condition)
            });
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Condition, Error> {
        self.operator()?;
        if let Some(function) = self.function() {
            match function {
                "attribute_exists" | "attribute_not_exists" | "attribute_type" | "begins_with" | "contains" => {
                    return self.predicate(function);
                }
                "size" => {}
                other => return Err(self.no_function(other)),
            }
        }
        let left = self.operand()?;
        if self.keyword("BETWEEN") {
            let low = self.operand()?;
            if !self.keyword("AND") {
                return Err(self.unexpected());
            }
            let high = self.operand()?;
            return self.between(left, low, high);
        }
        if self.keyword("IN") {
            self.expect("(")?;
            let mut list = vec![self.operand()?];
            while self.sign(",") {
                list.push(self.operand()?);
                if list.len() > IN_MAX {
                    return Err(self.invalid("The IN operator is provided with too many operands;"));
                }
            }
            self.expect(")")?;
            return Ok(Condition::In(left, list));
        }
        let comparison = match self.peek().text {
            "=" => Comparison::Equal,
            "<>" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            _ => return Err(self.unexpected()),
        };
        let name = self.take().text;
        let right = self.operand()?;
        if !matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            for operand in [&left, &right] {
                self.ordered(name, operand)?;
            }
        }
        Ok(Condition::Compare(left, comparison, right))
    }

    fn between(&self, value: Operand, low: Operand, high: Operand) -> Result<Condition, Error> {
        for operand in [&value, &low, &high] {
            self.ordered("BETWEEN", operand)?;
        }
        if let (Operand::Value(low), Operand::Value(high)) = (&low, &high) {
            match super::condition::order(low, high) {
                Some(order) if order.is_gt() => {
                    return Err(self.invalid(
                        "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound \
                         operand: AttributeValue, upper bound operand: AttributeValue",
                    ));
                }
                Some(_) => {}
                None => {
                    return Err(self.invalid(
                        "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: \
                         AttributeValue, upper bound operand: AttributeValue",
                    ));
                }
            }
        }
        Ok(Condition::Between(value, low, high))
    }

    /// Refuses a value that has no order.
    fn ordered(&self, operator: &str, operand: &Operand) -> Result<(), Error> {
        match operand {
            Operand::Value(value) if !matches!(value, Value::S(_) | Value::N(_) | Value::B(_)) => {
                Err(self.wrong_operand(operator, value))
            }
            _ => Ok(()),
        }
    }

    fn predicate(&mut self, function: &'a str) -> Result<Condition, Error> {
        self.take();
        self.expect("(")?;
        let condition = match function {
            "attribute_exists" => Condition::Exists(self.function_path(function)?),
            "attribute_not_exists" => Condition::Not(Box::new(Condition::Exists(self.function_path(function)?))),
            "attribute_type" => {
                let path = self.function_path(function)?;
                self.comma(function, 1)?;
                let Value::S(name) = self.value()? else {
                    return Err(self.invalid(
                        "Incorrect operand type for operator or function; operator or function: attribute_type, operand type: \
                         not S",
                    ));
                };
                if !["S", "N", "B", "SS", "NS", "BS", "BOOL", "NULL", "L", "M"].contains(&name.as_str()) {
                    let name = short(&name);
                    return Err(self.invalid(&format!(
                        "Invalid attribute type name found; type: {name}, valid types: {{B,NULL,SS,BOOL,L,BS,N,NS,S,M}}"
                    )));
                }
                Condition::Type(path, name)
            }
            _ => {
                let first = self.operand()?;
                self.comma(function, 1)?;
                let second = self.operand()?;
                let kind = if function == "contains" { Function::Contains } else { Function::BeginsWith };
                if let (Function::BeginsWith, Operand::Value(value)) = (kind, &second)
                    && !matches!(value, Value::S(_) | Value::B(_))
                {
                    return Err(self.wrong_operand(function, value));
                }
                Condition::Function(kind, first, second)
            }
        };
        self.close(function)?;
        Ok(condition)
    }

    fn operand(&mut self) -> Result<Operand, Error> {
        if let Some(function) = self.function() {
            if function != "size" {
                return Err(self.no_function(function));
            }
            self.operator()?;
            self.take();
            self.expect("(")?;
            let path = self.function_path(function)?;
            self.close(function)?;
            return Ok(Operand::Size(path));
        }
        if self.peek().kind == Kind::Value {
            return Ok(Operand::Value(self.value()?));
        }
        // A single operand may have brackets around it.
        if self.sign("(") {
            return self.deeper(|parser| {
                let operand = parser.operand()?;
                parser.expect(")")?;
                Ok(operand)
            });
        }
        Ok(Operand::Path(self.path()?))
    }

    /// `term (+ term | - term)?`
    fn sum(&mut self) -> Result<Term, Error> {
        let left = self.term()?;
        let sign = self.peek().text;
        if !matches!(sign, "+" | "-") {
            return Ok(left);
        }
        self.operator()?;
        self.take();
        let right = self.term()?;
        for term in [&left, &right] {
            if let Term::Value(value) = term
                && !matches!(value, Value::N(_))
            {
                return Err(self.wrong_operand(sign, value));
            }
        }
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(if sign == "+" { Term::Plus(left, right) } else { Term::Minus(left, right) })
    }

    fn term(&mut self) -> Result<Term, Error> {
        if let Some(function) = self.function() {
            self.operator()?;
            self.take();
            self.expect("(")?;
            let term = match function {
                "if_not_exists" => {
                    let path = self.function_path(function)?;
                    self.comma(function, 1)?;
                    Term::IfNotExists(path, Box::new(self.deeper(Self::term)?))
                }
                "list_append" => {
                    let first = self.deeper(Self::term)?;
                    self.comma(function, 1)?;
                    let second = self.deeper(Self::term)?;
                    for term in [&first, &second] {
                        if let Term::Value(value) = term
                            && !matches!(value, Value::L(_))
                        {
                            return Err(self.wrong_operand(function, value));
                        }
                    }
                    Term::ListAppend(Box::new(first), Box::new(second))
                }
                other => return Err(self.no_function(other)),
            };
            self.close(function)?;
            return Ok(term);
        }
        if self.peek().kind == Kind::Value {
            return Ok(Term::Value(self.value()?));
        }
        if self.sign("(") {
            return self.deeper(|parser| {
                let term = parser.sum()?;
                parser.expect(")")?;
                Ok(term)
            });
        }
        Ok(Term::Path(self.path()?))
    }

    /// What follows the path of ADD and DELETE.
    fn set_action(&mut self, clause: &'static str) -> Result<Action, Error> {
        if self.peek().kind != Kind::Value {
            return Err(self.unexpected());
        }
        let value = self.value()?;
        match (clause, &value) {
            ("ADD", Value::N(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) => Ok(Action::Add(value)),
            ("DELETE", Value::Ss(_) | Value::Ns(_) | Value::Bs(_)) => Ok(Action::Delete(value)),
            _ => Err(self.wrong_operand(clause, &value)),
        }
    }

    fn path(&mut self) -> Result<Path, Error> {
        let name = self.name()?;
        let mut rest = Vec::new();
        loop {
            if self.sign(".") {
                rest.push(Part::Name(self.name()?));
            } else if self.sign("[") {
                if self.peek().kind != Kind::Digits {
                    return Err(self.unexpected());
                }
                let digits = self.take().text;
                let index =
                    digits.parse().map_err(|_| self.invalid("List index is not within the allowable range;"))?;
                self.expect("]")?;
                rest.push(Part::Index(index));
            } else {
                return Ok(Path { name, rest });
            }
            if rest.len() >= PATH_PARTS_MAX {
                return Err(self.invalid("The document path has too many nesting elements;"));
            }
        }
    }

    /// The path that is the argument of `function`.
    fn function_path(&mut self, function: &str) -> Result<Path, Error> {
        if self.peek().kind == Kind::Value {
            let message = format!("Operator or function requires a document path; operator or function: {function}");
            return Err(self.invalid(&message));
        }
        self.path()
    }

    fn name(&mut self) -> Result<String, Error> {
        let token = self.peek();
        match token.kind {
            Kind::Word if is_reserved(token.text) => {
                let word = token.text;
                Err(self.invalid(&format!("Attribute name is a reserved keyword; reserved keyword: {word}")))
            }
            Kind::Word => Ok(self.take().text.to_owned()),
            Kind::Name => {
                let name = self.take().text;
                self.placeholders.name(name).ok_or_else(|| {
                    let name = short(name);
                    self.invalid(&format!(
                        "An expression attribute name used in the document path is not defined; attribute name: {name}"
                    ))
                })
            }
            _ => Err(self.unexpected()),
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        if self.peek().kind != Kind::Value {
            return Err(self.unexpected());
        }
        let name = self.take().text;
        self.placeholders.value(name).ok_or_else(|| {
            let name = short(name);
            self.invalid(&format!(
                "An expression attribute value used in expression is not defined; attribute value: {name}"
            ))
        })
    }

    /// The word ahead, when a bracket follows it.
    fn function(&self) -> Option<&'a str> {
        let (word, bracket) = (self.tokens.get(self.next)?, self.tokens.get(self.next + 1)?);
        let keyword = ["NOT", "AND", "OR", "IN", "BETWEEN"].iter().any(|known| known.eq_ignore_ascii_case(word.text));
        (word.kind == Kind::Word && bracket.text == "(" && !keyword).then_some(word.text)
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Word && token.text.eq_ignore_ascii_case(keyword);
        self.next += usize::from(found);
        found
    }

    fn sign(&mut self, sign: &str) -> bool {
        let found = self.peek().text == sign;
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Error> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn comma(&mut self, function: &str, operands: usize) -> Result<(), Error> {
        if self.peek().text == ")" { Err(self.wrong_count(function, operands)) } else { self.expect(",") }
    }

    fn close(&mut self, function: &str) -> Result<(), Error> {
        if self.peek().text == "," { Err(self.wrong_count(function, 3)) } else { self.expect(")") }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.invalid("The expression has too many levels of nesting;"));
        }
        let parsed = parse(self)?;
        self.depth -= 1;
        Ok(parsed)
    }

    fn operator(&mut self) -> Result<(), Error> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            let message = "The expression contains too many operators; maximum allowed number of operators: 300";
            return Err(self.invalid(message));
        }
        Ok(())
    }

    fn peek(&self) -> Token<'a> {
        // The end is never taken.
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.next += usize::from(token.kind != Kind::End);
        token
    }

    fn unexpected(&self) -> Error {
        let token = self.peek();
        let before = self.tokens[self.next.saturating_sub(1).min(self.tokens.len() - 1)].at;
        let after = self.tokens[(self.next + 1).min(self.tokens.len() - 1)];
        let near = short(&self.text[before..(after.at + after.text.len()).min(self.text.len())]);
        self.invalid(&format!("Syntax error; token: \"{}\", near: \"{near}\"", short(token.text)))
    }

    fn no_function(&self, name: &str) -> Error {
        let name = short(name);
        let known = [
            "attribute_exists",
            "attribute_not_exists",
            "attribute_type",
            "begins_with",
            "contains",
            "size",
            "if_not_exists",
            "list_append",
        ];
        if known.contains(&name.as_str()) {
            return self.invalid(&format!(
                "The function is not allowed to be used this way in an expression; function: {name}"
            ));
        }
        self.invalid(&format!("Invalid function name; function: {name}"))
    }

    fn wrong_operand(&self, operator: &str, value: &Value) -> Error {
        let kind = value.type_name();
        self.invalid(&format!(
            "Incorrect operand type for operator or function; operator or function: {operator}, operand type: {kind}"
        ))
    }

    fn wrong_count(&self, function: &str, count: usize) -> Error {
        self.invalid(&format!(
            "Incorrect number of operands for operator or function; operator or function: {function}, number of operands: \
             {count}"
        ))
    }

    fn invalid(&self, what: &str) -> Error {
        invalid(format!("Invalid {}: {what}", self.expression))
    }
}
