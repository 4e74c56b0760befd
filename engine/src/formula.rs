//! The formulas of [`OpDoc`](crate::autograd::OpDoc), as text and as MathML.
//!
//! An op writes its formulas once, in a small notation that reads well as it stands: `y[k] = x[k] - log(sum_{j} exp(x[j]))`.
//! Statements are separated by `;`, subscripts stand in brackets, `sum_{..}`, `mean_{..}` and `max_{..}` carry what they run over,
//! `grad_x` is the derivative of the loss with respect to `x` (and `grad_output` that with respect to `y`), words in
//! quotes are prose. [`text`] drops the quotes; [`mathml`] draws fractions, roots, sums and subscripts. Whatever the notation does not
//! know is shown as it is written, escaped.

/// The statements of a formula.
pub fn statements(formula: &str) -> impl Iterator<Item = &str> {
    formula.split(';').map(str::trim).filter(|statement| !statement.is_empty())
}

/// A formula for reading: the notation without its quotes.
pub fn text(formula: &str) -> String {
    formula.replace('"', "")
}

/// A formula as a `<math>` element, one line a statement.
pub fn mathml(formula: &str) -> String {
    let lines: Vec<String> = statements(formula).map(|statement| Parser::new(statement).line()).collect();
    let body = match &lines[..] {
        [line] => format!("<mrow>{line}</mrow>"),
        lines => {
            let rows: String = lines.iter().map(|line| format!("<mtr><mtd>{line}</mtd></mtr>")).collect();
            format!("<mtable columnalign=\"left\">{rows}</mtable>")
        }
    };
    format!("<math display=\"block\">{body}</math>")
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Number(String),
    Prose(String),
    Symbol(&'static str),
    Other(char),
}

/// Longest first.
const SYMBOLS: [&str; 22] = [
    "...", "_{", "<=", ">=", "==", "!=", "(", ")", "[", "]", "{", "}", "+", "-", "*", "/", "^", "'", ",", "=", "<", ">",
];

fn tokens(text: &str) -> Vec<Token> {
    let mut found = vec![];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let run = |within: fn(char) -> bool| rest.find(|c| !within(c)).unwrap_or(rest.len());
        let (token, len) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if first == '"' {
            let len = rest[1..].find('"').map_or(rest.len(), |end| end + 2);
            (Some(Token::Prose(rest[..len].trim_matches('"').into())), len)
        } else if first.is_alphabetic() {
            let mut len = run(|c| c.is_alphanumeric() || c == '_');
            // `sum_{j}`: the underscore belongs to the braces.
            if rest[..len].ends_with('_') && rest[len..].starts_with('{') {
                len -= 1;
            }
            (Some(Token::Word(rest[..len].into())), len)
        } else if first.is_ascii_digit() {
            let len = run(|c| c.is_ascii_digit() || c == '.');
            (Some(Token::Number(rest[..len].into())), len)
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Some(Token::Symbol(symbol)), symbol.len())
        } else {
            (Some(Token::Other(first)), first.len_utf8())
        };
        found.extend(token);
        rest = &rest[len..];
    }
    found
}

/// Recursive descent; what it makes are pieces of MathML.
struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Parser {
        Parser { tokens: tokens(text), at: 0 }
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let taken = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(taken);
        taken
    }

    /// Everything; a bracket that closes nothing is shown as it is.
    fn line(&mut self) -> String {
        let mut line = String::new();
        loop {
            line += &self.sequence();
            match self.tokens.get(self.at) {
                None => return line,
                Some(token) => {
                    line += &operator(&plain(token));
                    self.at += 1;
                }
            }
        }
    }

    /// Products between operators, up to a closing bracket or the end.
    fn sequence(&mut self) -> String {
        let mut out = String::new();
        while let Some(token) = self.peek() {
            match token {
                Token::Symbol(")" | "]" | "}") => break,
                Token::Symbol(s @ ("+" | "-" | "=" | "," | "<" | ">" | "<=" | ">=" | "==" | "!=")) => {
                    out += &operator(match *s {
                        "-" => "\u{2212}",
                        "<=" => "\u{2264}",
                        ">=" => "\u{2265}",
                        "==" => "=",
                        "!=" => "\u{2260}",
                        s => s,
                    });
                    self.at += 1;
                }
                _ => out += &self.product(),
            }
        }
        out
    }

    /// Factors; a division takes the whole product before it as its numerator.
    fn product(&mut self) -> String {
        let mut out = self.factor();
        loop {
            if self.take("*") {
                out += &operator("\u{22c5}");
                out += &self.factor();
            } else if self.take("/") {
                let below = self.factor();
                out = format!("<mfrac>{}{}</mfrac>", half(bare(&out)), half(bare(&below)));
            } else {
                return out;
            }
        }
    }

    fn factor(&mut self) -> String {
        let mut out = self.primary();
        loop {
            if self.take("[") {
                let within = self.until("]");
                out = format!("<msub><mrow>{out}</mrow><mrow>{within}</mrow></msub>");
            } else if self.take("^") {
                let power = self.primary();
                out = format!("<msup><mrow>{out}</mrow><mrow>{power}</mrow></msup>");
            } else if self.take("'") {
                out = format!("<msup><mrow>{out}</mrow><mo>\u{2032}</mo></msup>");
            } else {
                return out;
            }
        }
    }

    fn until(&mut self, end: &str) -> String {
        let within = self.sequence();
        self.take(end);
        within
    }

    fn primary(&mut self) -> String {
        let Some(token) = self.peek().cloned() else { return String::new() };
        self.at += 1;
        match token {
            Token::Number(number) => format!("<mn>{number}</mn>"),
            Token::Prose(prose) => format!("<mtext>\u{a0}{}\u{a0}</mtext>", escape(&prose)),
            Token::Symbol("-") => operator("\u{2212}") + &self.factor(),
            Token::Symbol("(") => format!("<mrow><mo>(</mo>{}<mo>)</mo></mrow>", self.until(")")),
            Token::Symbol("...") => operator("\u{2026}"),
            Token::Word(word) => self.word(&word),
            other => operator(&plain(&other)),
        }
    }

    fn word(&mut self, word: &str) -> String {
        if self.take("_{") {
            let below = self.until("}");
            let sign = match word {
                "sum" => "<mo>\u{2211}</mo>".into(),
                "mean" | "max" | "min" => format!("<mo>{word}</mo>"),
                _ => name(word),
            };
            return format!("<munder>{sign}<mrow>{below}</mrow></munder>");
        }
        if word == "sqrt" && self.take("(") {
            return format!("<msqrt>{}</msqrt>", self.until(")"));
        }
        if let Some(of) = word.strip_prefix("grad_") {
            let mut of = variable(if of == "output" { "y" } else { of });
            if self.take("[") {
                of = format!("<msub><mrow>{of}</mrow><mrow>{}</mrow></msub>", self.until("]"));
            }
            return format!("<mfrac><mrow><mi>\u{2202}L</mi></mrow><mrow><mi>\u{2202}</mi>{of}</mrow></mfrac>");
        }
        if self.take("(") {
            return format!("{}<mo>\u{2061}</mo><mrow><mo>(</mo>{}<mo>)</mo></mrow>", name(word), self.until(")"));
        }
        variable(word)
    }
}

/// A fraction's parts need no brackets.
fn bare(piece: &str) -> &str {
    let inner = piece.strip_prefix("<mrow><mo>(</mo>").and_then(|rest| rest.strip_suffix("<mo>)</mo></mrow>"));
    inner.filter(|inner| !inner.contains("<mo>(</mo>")).unwrap_or(piece)
}

/// Half of a fraction: a fraction within it stays as large.
fn half(piece: &str) -> String {
    if piece.contains("<mfrac>") {
        format!("<mstyle displaystyle=\"true\">{piece}</mstyle>")
    } else {
        format!("<mrow>{piece}</mrow>")
    }
}

/// A name whose part after an underscore is its index: `x_k`.
fn variable(word: &str) -> String {
    match word.split_once('_') {
        Some((of, index)) if !of.is_empty() && !index.is_empty() => {
            format!(
                "<msub>{}{}</msub>",
                name(of),
                if index.parse::<u32>().is_ok() { format!("<mn>{index}</mn>") } else { name(index) }
            )
        }
        _ => name(word),
    }
}

fn name(word: &str) -> String {
    let greek = match word {
        "gamma" => "\u{3b3}",
        "beta" => "\u{3b2}",
        "eps" => "\u{3b5}",
        "sigma" => "\u{3c3}",
        "lambda" => "\u{3bb}",
        "pi" => "\u{3c0}",
        word => word,
    };
    format!("<mi>{}</mi>", escape(greek))
}

fn operator(symbol: &str) -> String {
    format!("<mo>{}</mo>", escape(symbol))
}

fn plain(token: &Token) -> String {
    match token {
        Token::Word(s) | Token::Number(s) | Token::Prose(s) => s.clone(),
        Token::Symbol(s) => (*s).into(),
        Token::Other(c) => c.to_string(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner(formula: &str) -> String {
        let math = mathml(formula);
        let inner = math.strip_prefix("<math display=\"block\"><mrow>").and_then(|m| m.strip_suffix("</mrow></math>"));
        inner.expect("one line").to_string()
    }

    #[test]
    fn sums_fractions_and_subscripts_are_drawn() {
        assert_eq!(
            inner("y = a / b"),
            "<mi>y</mi><mo>=</mo><mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>"
        );
        assert_eq!(
            inner("sum_{j} x[j]"),
            "<munder><mo>\u{2211}</mo><mrow><mi>j</mi></mrow></munder><msub><mrow><mi>x</mi></mrow><mrow><mi>j</mi></mrow></msub>"
        );
        assert_eq!(
            inner("grad_output"),
            "<mfrac><mrow><mi>\u{2202}L</mi></mrow><mrow><mi>\u{2202}</mi><mi>y</mi></mrow></mfrac>"
        );
        assert_eq!(
            inner("grad_x[i]"),
            "<mfrac><mrow><mi>\u{2202}L</mi></mrow><mrow><mi>\u{2202}</mi><msub><mrow><mi>x</mi></mrow><mrow><mi>i</mi></mrow></msub></mrow></mfrac>"
        );
        assert_eq!(inner("x_k"), "<msub><mi>x</mi><mi>k</mi></msub>");
        assert!(inner("grad_output / x").starts_with("<mfrac><mstyle displaystyle=\"true\"><mfrac>"));
    }

    #[test]
    fn several_statements_are_lines_and_quotes_are_prose() {
        assert!(mathml("a = 1; b = 2").contains("</mtr><mtr>"));
        assert_eq!(text("y = x \"under another shape\""), "y = x under another shape");
        assert!(mathml("y = x \"a < b\"").contains("a &lt; b"));
    }

    #[test]
    fn nothing_is_markup_and_nothing_hangs() {
        for odd in ["<script>", ")))", "((((", "a[", "^", "sum_{", "\"", "x'''", "é & \u{0}", "", ";;", "1/", "*"] {
            let math = mathml(odd);
            assert!(!math.contains("<script"), "{math}");
            for (open, close) in [("<mrow>", "</mrow>"), ("<mfrac>", "</mfrac>"), ("<mo>", "</mo>"), ("<mi>", "</mi>")]
            {
                assert_eq!(math.matches(open).count(), math.matches(close).count(), "{odd}: {math}");
            }
        }
    }
}
