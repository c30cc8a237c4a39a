//! The defaults of pods, by namespace and label:
//!
//! ```text
//! line = 1*( "namespace" NAME | "label" KEY "=" VALUE ) settings [ "#" anything ]
//! ```

use crate::annotation::{Selected, select};
use crate::error::{Error, REFUSED};
use crate::policy::{read_rules, unreadable};
use keepalive_nri::PodSandbox;
use keepalive_policy::parse::without_mark;
use std::path::Path;

/// The lines of the file, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Defaults(Vec<Line>);

#[derive(Clone, Debug, PartialEq)]
struct Line {
    namespace: Option<String>,
    labels: Vec<(String, String)>,
    selected: Selected,
}

impl Defaults {
    /// Reads the file.
    ///
    /// # Errors
    /// Its mistakes, or the reason why it could not be read.
    pub(super) fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        let (text, _) = read_rules(file).map_err(|error| unreadable(REFUSED, &name, &error))?;
        Self::parse(&name, &text)
    }

    fn parse(name: &str, text: &[u8]) -> Result<Self, Error> {
        let text = String::from_utf8_lossy(without_mark(text));
        let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            let statement = line.split('#').next().unwrap_or_default();
            match Line::parse(statement) {
                None => {}
                Some(Ok(line)) => lines.push(line),
                Some(Err(error)) => {
                    let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                    mistakes.push(format!("{name}:{number}: {error}{hint}"));
                }
            }
        }
        if mistakes.is_empty() {
            Ok(Self(lines))
        } else {
            Err(Error::placed(REFUSED, mistakes.join("\n")))
        }
    }

    /// Returns what the first line that matches a pod selects.
    pub(super) fn of(&self, pod: &PodSandbox) -> Option<Selected> {
        let line = self.0.iter().find(|line| line.matches(pod))?;
        Some(line.selected)
    }
}

impl Line {
    /// Returns `None` for a line without words.
    fn parse(text: &str) -> Option<Result<Self, keepalive_engine::Error>> {
        let mut words = text.split_whitespace().peekable();
        words.peek()?;
        let mut line = Self {
            namespace: None,
            labels: Vec::new(),
            selected: Selected::Default,
        };
        while let Some(keyword) = words.next_if(|word| ["namespace", "label"].contains(word)) {
            let Some(value) = words.next() else {
                return Some(Err(mistake(&format!("no {keyword} is named"))));
            };
            if keyword == "label" {
                let Some((key, value)) = value.split_once('=') else {
                    return Some(Err(mistake(&format!("'{value}' is no label"))));
                };
                line.labels.push((key.to_owned(), value.to_owned()));
            } else if line.namespace.replace(value.to_owned()).is_some() {
                return Some(Err(mistake("a second namespace")));
            }
        }
        if line.namespace.is_none() && line.labels.is_empty() {
            return Some(Err(mistake("a line begins with namespace or label")));
        }
        let settings: Vec<&str> = words.collect();
        if settings.is_empty() {
            return Some(Err(mistake("nothing is set")));
        }
        Some(select(&settings.join(" ")).map(|selected| Self { selected, ..line }))
    }

    fn matches(&self, pod: &PodSandbox) -> bool {
        let is_in = |namespace: &String| *namespace == pod.namespace;
        let has = |(key, value): &(String, String)| pod.labels.get(key) == Some(value);
        self.namespace.as_ref().is_none_or(is_in) && self.labels.iter().all(has)
    }
}

fn mistake(reason: &str) -> keepalive_engine::Error {
    keepalive_engine::Error::new(reason)
        .with_hint("write, for example: namespace shop label app=db idle=30s interval=10s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, labels: &[(&str, &str)]) -> PodSandbox {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        PodSandbox {
            namespace: namespace.to_owned(),
            labels: labels.collect(),
            ..PodSandbox::default()
        }
    }

    #[test]
    fn first_matching_line_decides() {
        let text = "# defaults\n\nnamespace shop label app=db idle=15s # the database\nnamespace shop default\n\
                    label tier=batch label app=x off\n";
        let defaults = Defaults::parse("file", text.as_bytes()).unwrap();
        let shown = |pod: &PodSandbox| {
            Some(match defaults.of(pod)? {
                Selected::Default => "default".to_owned(),
                Selected::Settings(settings) => settings.to_string(),
            })
        };
        for (pod, expected) in [
            (pod("shop", &[("app", "db")]), Some("idle=15s")),
            (pod("shop", &[("app", "web")]), Some("default")),
            (pod("other", &[("app", "db")]), None),
            (pod("other", &[("app", "x"), ("tier", "batch")]), Some("off")),
            (pod("other", &[("tier", "batch")]), None),
        ] {
            assert_eq!(shown(&pod).as_deref(), expected, "{pod:?}");
        }
    }

    #[test]
    fn mistakes_have_their_line() {
        let text = "idle=30s\nnamespace\nnamespace a namespace b off\nlabel x off\nnamespace a\nlabel a=b idle=30x\n";
        let error = Defaults::parse("file", text.as_bytes()).unwrap_err().to_string();
        let first: Vec<&str> = error.lines().filter(|line| line.starts_with("file:")).collect();
        assert_eq!(
            first,
            [
                "file:1: a line begins with namespace or label",
                "file:2: no namespace is named",
                "file:3: a second namespace",
                "file:4: 'x' is no label",
                "file:5: nothing is set",
                "file:6: 'idle=30x': unknown unit after the number",
            ]
        );
    }
}
