//! YAML as a tree in which every node knows its place, and readers that turn nodes into values and collect every fault
//! instead of stopping at the first.

use crate::diagnostic::{Diagnostic, Level};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use std::sync::Arc;

/// Deepest nesting that is read; the deepest that OpenSLO needs is about ten.
const DEEPEST: usize = 64;

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Place {
    fn new(file: &Arc<str>, marker: &Marker) -> Self {
        Self { file: Arc::clone(file), line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// A YAML node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) shape: Shape,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Null,
    /// `plain` when it stands without quotes, so that it may be a number or truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    Mapping(Vec<(Located<String>, Node)>),
}

impl Node {
    const fn word(&self) -> &'static str {
        match &self.shape {
            Shape::Null => "nothing",
            Shape::Scalar { .. } => "a single value",
            Shape::Sequence(_) => "a list",
            Shape::Mapping(_) => "a mapping",
        }
    }
}

/// Everything found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) list: Vec<Diagnostic>,
}

impl Findings {
    pub(crate) fn error(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Level::Error, place, message.into(), help.into());
    }

    pub(crate) fn warn(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.add(Level::Warning, place, message.into(), help.into());
    }

    fn add(&mut self, level: Level, place: &Place, message: String, help: String) {
        let Place { file, line, column } = place;
        self.list.push(Diagnostic {
            level,
            file: file.to_string(),
            line: *line,
            column: *column,
            message,
            help,
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.list.iter().any(|finding| finding.level == Level::Error)
    }

    /// A text; numbers and truth values are taken as they are written.
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<Located<String>> {
        match &node.shape {
            Shape::Scalar { text, .. } => Some(Located { value: text.clone(), place: node.place.clone() }),
            _ => {
                self.error(&node.place, format!("{what} must be a text, not {}", node.word()), "");
                None
            }
        }
    }

    /// A finite number.
    pub(crate) fn number(&mut self, node: &Node, what: &str) -> Option<Located<f64>> {
        let number = match &node.shape {
            Shape::Scalar { text, plain: true } => {
                text.parse::<f64>().ok().filter(|number| number.is_finite())
            }
            _ => None,
        };
        if number.is_none() {
            self.error(
                &node.place,
                format!("{what} must be a number"),
                "write it without quotes, such as 0.999",
            );
        }
        number.map(|value| Located { value, place: node.place.clone() })
    }

    /// `true` or `false`.
    pub(crate) fn truth(&mut self, node: &Node, what: &str) -> Option<Located<bool>> {
        let value = match &node.shape {
            Shape::Scalar { text, plain: true } => match text.as_str() {
                "true" | "True" | "TRUE" => Some(true),
                "false" | "False" | "FALSE" => Some(false),
                _ => None,
            },
            _ => None,
        };
        if value.is_none() {
            self.error(&node.place, format!("{what} must be true or false"), "");
        }
        value.map(|value| Located { value, place: node.place.clone() })
    }

    /// A list.
    pub(crate) fn list<'a>(&mut self, node: &'a Node, what: &str) -> Option<&'a [Node]> {
        if let Shape::Sequence(items) = &node.shape {
            return Some(items);
        }
        let help = "begin each entry with `- `";
        self.error(&node.place, format!("{what} must be a list, not {}", node.word()), help);
        None
    }

    /// One text or a list of texts.
    pub(crate) fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<Located<String>>> {
        match &node.shape {
            Shape::Sequence(items) => {
                let texts: Vec<_> = items.iter().map(|item| self.text(item, what)).collect();
                texts.into_iter().collect()
            }
            _ => self.text(node, what).map(|text| vec![text]),
        }
    }

    /// The entries of a mapping, to be taken one by one. A key that stands twice is reported.
    pub(crate) fn fields<'a>(&mut self, node: &'a Node, what: &str) -> Option<Fields<'a>> {
        let Shape::Mapping(entries) = &node.shape else {
            self.error(&node.place, format!("{what} must be a mapping, not {}", node.word()), "");
            return None;
        };
        for (position, (key, _)) in entries.iter().enumerate() {
            if let Some((first, _)) =
                entries.iter().take(position).find(|(other, _)| other.value == key.value)
            {
                let message = format!("`{}` stands twice in {what}", key.value);
                self.error(&key.place, message, format!("the first is on line {}", first.place.line));
            }
        }
        Some(Fields { what: what.to_owned(), place: node.place.clone(), entries, known: Vec::new() })
    }
}

/// The entries of a mapping. What nobody asked for is an unknown key.
pub(crate) struct Fields<'a> {
    what: String,
    pub(crate) place: Place,
    entries: &'a [(Located<String>, Node)],
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// An entry that may be left out; one without a value counts as left out.
    pub(crate) fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.known.push(key);
        let found = self.entries.iter().find(|(name, _)| name.value == key).map(|(_, node)| node);
        found.filter(|node| !matches!(node.shape, Shape::Null))
    }

    /// An entry that must be there.
    pub(crate) fn required(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        help: &str,
    ) -> Option<&'a Node> {
        let found = self.optional(key);
        if found.is_none() {
            findings.error(&self.place, format!("`{key}` is missing in {}", self.what), help);
        }
        found
    }

    /// Where a key stands.
    pub(crate) fn place_of(&self, key: &str) -> Option<&'a Place> {
        self.entries.iter().find(|(name, _)| name.value == key).map(|(name, _)| &name.place)
    }

    /// All entries, for mappings whose keys are free.
    pub(crate) const fn all(&self) -> &'a [(Located<String>, Node)] {
        self.entries
    }

    /// Reports the keys that nobody asked for.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for (key, _) in self.entries.iter().filter(|(key, _)| !self.known.contains(&key.value.as_str())) {
            let help = format!("known here: {}", self.known.join(", "));
            findings.error(&key.place, format!("`{}` is not a key of {}", key.value, self.what), help);
        }
    }
}

/// Reads a file that is a list of `what`. `read_entry` makes one and is shown those before it; entries without a value have
/// findings of their own.
///
/// # Errors
/// All faults of the file, in the order of their lines.
pub(crate) fn read_list<T>(
    file: &str,
    text: &str,
    what: &str,
    read_entry: impl Fn(&Node, &[Located<T>], &mut Findings) -> Option<Located<T>>,
) -> Result<Vec<T>, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let documents = read(file, text, &mut findings);
    let mut entries: Vec<Located<T>> = Vec::new();
    for document in &documents {
        for entry in findings.list(document, what).unwrap_or_default() {
            entries.extend(read_entry(entry, &entries, &mut findings));
        }
    }
    if findings.has_errors() {
        findings.list.sort_by_key(|finding| (finding.line, finding.column));
        return Err(findings.list);
    }
    Ok(entries.into_iter().map(|entry| entry.value).collect())
}

/// Reads all documents of a file. After a syntax error the documents before it are still returned.
pub(crate) fn read(file: &str, text: &str, findings: &mut Findings) -> Vec<Node> {
    let file: Arc<str> = Arc::from(file);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let done = event.map_err(|error| {
            let help = "indentation by spaces, `key: value`, and quotes around texts with `: ` or ` #` are the usual causes";
            (Place::new(&file, error.marker()), format!("this is not YAML: {}", error.info()), help)
        });
        let done = done.and_then(|(event, span)| builder.take(event, Place::new(&file, &span.start)));
        if let Err((place, message, help)) = done {
            findings.error(&place, message, help);
            break;
        }
    }
    builder.documents
}

/// A collection that is still being read.
enum Open {
    Sequence(Place, Vec<Node>),
    Mapping(Place, Vec<(Located<String>, Node)>, Option<Located<String>>),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    documents: Vec<Node>,
}

type Fault = (Place, String, &'static str);

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Fault> {
        let tagged = match &event {
            Event::Scalar(_, _, _, tag) | Event::SequenceStart(_, tag) | Event::MappingStart(_, tag) => {
                tag.is_some()
            }
            _ => false,
        };
        if tagged {
            return Err((
                place,
                "YAML tags are not supported here".to_owned(),
                "remove the word that begins with `!`",
            ));
        }
        match event {
            Event::Alias(_) => Err((
                place,
                "YAML aliases are not supported here".to_owned(),
                "write the value out in each place",
            )),
            Event::Scalar(text, style, _, _) => {
                let plain = style == ScalarStyle::Plain;
                let shape = if plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
                    Shape::Null
                } else {
                    Shape::Scalar { text: text.into_owned(), plain }
                };
                self.put(Node { place, shape })
            }
            Event::SequenceStart(..) => self.open(Open::Sequence(place.clone(), Vec::new()), place),
            Event::MappingStart(..) => self.open(Open::Mapping(place.clone(), Vec::new(), None), place),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::Sequence(place, items)) => self.put(Node { place, shape: Shape::Sequence(items) }),
                Some(Open::Mapping(place, entries, _)) => {
                    self.put(Node { place, shape: Shape::Mapping(entries) })
                }
                None => Ok(()),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, open: Open, place: Place) -> Result<(), Fault> {
        if self.open.len() >= DEEPEST {
            return Err((place, format!("this is nested more than {DEEPEST} deep"), ""));
        }
        self.open.push(open);
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Fault> {
        match self.open.last_mut() {
            None => self.documents.push(node),
            Some(Open::Sequence(_, items)) => items.push(node),
            Some(Open::Mapping(_, entries, key)) => match key.take() {
                Some(name) => entries.push((name, node)),
                None => match node.shape {
                    Shape::Scalar { text, .. } => *key = Some(Located { value: text, place: node.place }),
                    _ => return Err((node.place, "a key must be a text".to_owned(), "")),
                },
            },
        }
        Ok(())
    }
}
