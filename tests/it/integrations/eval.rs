//! The part of Splunk's eval expressions that `props.conf` uses.
//!
//! Defined by: Splunk, "Evaluation functions" and "eval". A missing field is NULL. A comparison
//! with NULL is NULL, which counts as false.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::vec::IntoIter;

/// The value of an expression: text, a truth value, or NULL.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    Truth(bool),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Word(String),
    Sign(&'static str),
}

/// The text that `expression` gives for an event with these fields. `None` is NULL.
pub(super) fn eval(expression: &str, fields: &BTreeMap<String, String>) -> Option<String> {
    let tokens = tokens(expression).into_iter().peekable();
    let mut parser = Parser { tokens, fields };
    let value = parser.any();
    assert_eq!(parser.tokens.next(), None, "{expression} goes on");
    match value {
        Value::Text(text) => Some(text),
        Value::Null => None,
        Value::Truth(_) => panic!("{expression} is a condition"),
    }
}

/// The names of the fields that `expression` uses.
pub(super) fn names(expression: &str) -> Vec<String> {
    let tokens = tokens(expression);
    let is_called = |at: usize| tokens.get(at + 1) == Some(&Token::Sign("("));
    let words = tokens.iter().enumerate().filter_map(|(at, token)| match token {
        Token::Word(word) if !is_called(at) && word != "AND" && word != "OR" => Some(word.clone()),
        _ => None,
    });
    words.collect()
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix('"') {
            let (inside, after) = after.split_once('"').expect("a closing quote");
            tokens.push(Token::Text(inside.to_owned()));
            rest = after;
        } else if let Some(sign) =
            ["==", "(", ")", ","].into_iter().find(|one| rest.starts_with(one))
        {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            assert!(!word.is_empty(), "{first:?} in {text}");
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    tokens
}

struct Parser<'a> {
    tokens: Peekable<IntoIter<Token>>,
    fields: &'a BTreeMap<String, String>,
}

impl Parser<'_> {
    fn takes(&mut self, token: &Token) -> bool {
        self.tokens.next_if_eq(token).is_some()
    }

    fn any(&mut self) -> Value {
        let mut value = self.all();
        while self.takes(&Token::Word("OR".to_owned())) {
            let other = self.all();
            value = Value::Truth(is_true(&value) || is_true(&other));
        }
        value
    }

    fn all(&mut self) -> Value {
        let mut value = self.comparison();
        while self.takes(&Token::Word("AND".to_owned())) {
            let other = self.comparison();
            value = Value::Truth(is_true(&value) && is_true(&other));
        }
        value
    }

    fn comparison(&mut self) -> Value {
        let value = self.single();
        if !self.takes(&Token::Sign("==")) {
            return value;
        }
        match (value, self.single()) {
            (Value::Null, _) | (_, Value::Null) => Value::Null,
            (one, other) => Value::Truth(one == other),
        }
    }

    fn single(&mut self) -> Value {
        match self.tokens.next().expect("a value") {
            Token::Text(text) => Value::Text(text),
            Token::Sign("(") => {
                let value = self.any();
                assert!(self.takes(&Token::Sign(")")), "a closing parenthesis");
                value
            }
            Token::Sign(sign) => panic!("{sign} is no value"),
            Token::Word(word) if self.takes(&Token::Sign("(")) => {
                let mut arguments = Vec::new();
                while !self.takes(&Token::Sign(")")) {
                    arguments.push(self.any());
                    // The comma may be missing only before the end.
                    let comma = self.takes(&Token::Sign(","));
                    assert!(comma || self.tokens.peek() == Some(&Token::Sign(")")), "a comma");
                }
                call(&word, &arguments)
            }
            Token::Word(name) => self.fields.get(&name).cloned().map_or(Value::Null, Value::Text),
        }
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Truth(truth) => *truth,
        Value::Null => false,
        Value::Text(text) => panic!("{text:?} is no condition"),
    }
}

fn call(name: &str, arguments: &[Value]) -> Value {
    let regex = |value: &Value| match value {
        Value::Text(text) => fancy_regex::Regex::new(text).unwrap(),
        other => panic!("{other:?} is no regular expression"),
    };
    match (name, arguments) {
        ("true", []) => Value::Truth(true),
        ("null", []) => Value::Null,
        ("if", [condition, yes, no]) => if is_true(condition) { yes } else { no }.clone(),
        ("case", pairs) => {
            assert_eq!(pairs.len() % 2, 0, "case has pairs");
            let mut pairs = pairs.chunks(2);
            pairs.find(|pair| is_true(&pair[0])).map_or(Value::Null, |pair| pair[1].clone())
        }
        ("coalesce", values) => {
            values.iter().find(|value| **value != Value::Null).cloned().unwrap_or(Value::Null)
        }
        ("match", [Value::Null, _]) | ("lower" | "replace", [Value::Null, ..]) => Value::Null,
        ("match", [Value::Text(text), by]) => Value::Truth(regex(by).is_match(text).unwrap()),
        ("lower", [Value::Text(text)]) => Value::Text(text.to_lowercase()),
        ("replace", [Value::Text(text), by, Value::Text(with)]) => {
            Value::Text(regex(by).replace_all(text, with.as_str()).into_owned())
        }
        (name, arguments) => panic!("{name} with {arguments:?}"),
    }
}

#[test]
fn expressions_are_evaluated() {
    let fields = BTreeMap::from([("a".to_owned(), "X y".to_owned())]);
    let check = |expression: &str, expected: Option<&str>| {
        assert_eq!(eval(expression, &fields).as_deref(), expected, "{expression}");
    };
    check("a", Some("X y"));
    check("b", None);
    check("coalesce(b, \"c\")", Some("c"));
    check("if(match(a, \"^X\"), lower(replace(a, \" .*\", \"\")), null())", Some("x"));
    check("if(match(b, \".\"), \"yes\", \"no\")", Some("no"));
    check("case(b==\"c\", \"1\", a==\"X y\" AND (b==\"c\" OR true()), \"2\")", Some("2"));
    check("case(b==\"c\", \"1\")", None);
    assert_eq!(names("if(match(a, \"x\") AND c==\"d\", lower(e), null())"), ["a", "c", "e"]);
}
