//! What of a document is a command line, a mention of the command, or a rule.

use super::commands;
use crate::support::repository;
use std::fs;
use std::path::Path;

/// A piece of a document, and the line in which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    pub number: usize,
    pub text: String,
}

impl Piece {
    fn new(index: usize, text: impl Into<String>) -> Self {
        Self {
            number: index + 1,
            text: text.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Markdown,
    /// mdoc(7)
    Manual,
    Help,
    Rules,
}

/// A document.
pub struct Source {
    pub name: String,
    text: String,
    format: Format,
}

/// All of them: what users read, and the files of rules that they are given.
pub fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for directory in ["", ".github/ISSUE_TEMPLATE", "docs", "man", "packaging"] {
        collect(&repository().join(directory), directory == "packaging", &mut sources);
    }
    sources.extend(
        commands::pages()
            .into_iter()
            .flat_map(|page| page.helps)
            .map(|(name, text)| Source {
                name: format!("{name} --help"),
                text,
                format: Format::Help,
            }),
    );
    sources
}

fn collect(directory: &Path, with_directories: bool, sources: &mut Vec<Source>) {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if with_directories && path.is_dir() {
            collect(&path, true, sources);
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let format = match name.rsplit_once('.') {
            // It tells of commands as they were.
            Some(("CHANGELOG", _)) => continue,
            Some((_, "md")) => Format::Markdown,
            Some((_, "conf")) if name == "keepalive.conf" => Format::Rules,
            Some((_, "1" | "5" | "7" | "8")) => Format::Manual,
            _ => continue,
        };
        sources.push(Source {
            name: path.strip_prefix(repository()).unwrap_or(&path).display().to_string(),
            text: fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            format,
        });
    }
}

impl Source {
    /// What stands there to be typed.
    pub fn commands(&self) -> Vec<Piece> {
        match self.format {
            Format::Markdown => {
                let code = of_markdown(&self.text)
                    .into_iter()
                    .filter(|line| line.block != Block::Prose);
                let lines = code.filter_map(|line| Some(Piece::new(line.index, command(line.text, line.block)?)));
                lines.collect()
            }
            Format::Manual => of_manual(&self.text),
            Format::Help => {
                // A line of a sentence can begin like one.
                let mut may_begin = false;
                let mut lines = Vec::new();
                for (index, line) in self.text.lines().enumerate() {
                    let command = command(line, Block::Indented).filter(|_| may_begin && line.starts_with("  "));
                    may_begin = line.is_empty() || line.ends_with(':') || command.is_some();
                    lines.extend(command.map(|command| Piece::new(index, command)));
                }
                lines
            }
            Format::Rules => Vec::new(),
        }
    }

    /// What is said in the text of the command and its options.
    pub fn mentions(&self) -> Vec<Piece> {
        let is_mention = |text: &str| text.starts_with("keepalive ") || text.starts_with("--") && text.len() > 2;
        let mut mentions = match self.format {
            Format::Markdown => in_backticks(&self.text),
            Format::Manual => {
                let lines = self.text.lines().enumerate();
                let quotes = lines.filter_map(|(index, line)| Some((index, line.strip_prefix(".Ql ")?)));
                quotes
                    .map(|(index, quote)| Piece::new(index, quote.trim_end_matches([' ', '.', ',', ';', ':', ')'])))
                    .collect()
            }
            Format::Help => in_quotes(&self.text),
            Format::Rules => Vec::new(),
        };
        mentions.retain(|mention| is_mention(&mention.text));
        mentions
    }

    /// Its rules: texts of them where they stand together, single ones where something else is with them.
    pub fn rules(&self) -> Vec<Piece> {
        let mut rules = match self.format {
            Format::Markdown => blocks(&self.text),
            Format::Manual => literal_blocks(&self.text),
            Format::Help => in_quotes(&self.text),
            Format::Rules => return vec![Piece::new(0, self.text.as_str())],
        };
        rules.retain(|piece| is_rule(piece.text.trim_start()));
        rules
    }
}

/// Whether it begins as a rule does, and sets something.
fn is_rule(text: &str) -> bool {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let first = lines.clone().find(|line| !line.is_empty()).unwrap_or_default();
    let word = first.split_whitespace().next().unwrap_or_default();
    ["default", "connect", "accept", "program"].contains(&word) && (first.contains('=') || first.ends_with(" off"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Prose,
    /// Every line of it is one for the shell.
    Shell,
    /// Between fences, whatever it is.
    Fenced,
    Indented,
}

struct MarkdownLine<'a> {
    index: usize,
    text: &'a str,
    block: Block,
}

/// The lines but for the fences.
fn of_markdown(text: &str) -> Vec<MarkdownLine<'_>> {
    let mut block = Block::Prose;
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        if let Some(language) = text.trim_start().strip_prefix("```") {
            block = match (block, language) {
                (Block::Prose, "sh" | "bash" | "shell") => Block::Shell,
                (Block::Prose, _) => Block::Fenced,
                _ => Block::Prose,
            };
            continue;
        }
        let is_indented = block == Block::Prose && text.starts_with("    ");
        let block = if is_indented { Block::Indented } else { block };
        lines.push(MarkdownLine { index, text, block });
    }
    lines
}

/// The command in a line of code, without the comment or the description behind it.
fn command(line: &str, block: Block) -> Option<&str> {
    let line = line.trim();
    let first = line.split_whitespace().next()?;
    let command = match line.strip_prefix("$ ") {
        Some(command) => command,
        None if block == Block::Shell && first != "#" => line,
        None if ["keepalive", "make", "sudo"].contains(&first) => line,
        None => return None,
    };
    command.split("  ").next()?.split(" # ").next().map(str::trim)
}

/// The command lines of a page in mdoc(7).
pub fn of_manual(text: &str) -> Vec<Piece> {
    let mut is_literal = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        is_literal = line.starts_with(".Bd -literal") || is_literal && line != ".Ed";
        let shown = line
            .strip_prefix(".Dl ")
            .or(is_literal.then_some(line))
            .unwrap_or_default();
        let is_command = shown.starts_with("keepalive ");
        if let Some(command) = shown.strip_prefix("$ ").or(is_command.then_some(shown)) {
            lines.push(Piece::new(index, command.replace("\\&", "").replace("\\e", "\\")));
        }
    }
    lines
}

/// What stands between backticks outside of code.
fn in_backticks(text: &str) -> Vec<Piece> {
    let mut prose = String::new();
    for line in of_markdown(text) {
        // Fences are missing.
        while prose.lines().count() < line.index {
            prose.push('\n');
        }
        if line.block == Block::Prose {
            prose.push_str(line.text);
        }
        prose.push('\n');
    }
    let mut number = 0;
    let mut pieces = Vec::new();
    for (index, part) in prose.split('`').enumerate() {
        if index % 2 == 1 {
            pieces.push(Piece::new(number, part.replace('\n', " ")));
        }
        number += part.matches('\n').count();
    }
    pieces
}

/// What stands between single quotes; in `the program's` there are none.
fn in_quotes(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (start, _) in text.match_indices('\'') {
        let before = text[..start].chars().next_back().unwrap_or(' ');
        if !(before.is_whitespace() || before == '(') {
            continue;
        }
        let rest = &text[start + 1..];
        let ends = |end: usize| {
            rest[end + 1..]
                .chars()
                .next()
                .is_none_or(|after| !after.is_alphanumeric())
        };
        if let Some((end, _)) = rest.match_indices('\'').find(|(end, _)| ends(*end)) {
            let words: Vec<&str> = rest[..end].split_whitespace().collect();
            pieces.push(Piece::new(text[..start].matches('\n').count(), words.join(" ")));
        }
    }
    pieces
}

/// The blocks of code, and their lines where not all of them are rules.
fn blocks(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut last = None;
    for line in of_markdown(text).iter().filter(|line| line.block != Block::Prose) {
        let single = Piece::new(line.index, line.text);
        match pieces.last_mut() {
            Some(block) if last == Some(line.index.wrapping_sub(1)) && is_rule(&block.text) => {
                block.text.push('\n');
                block.text.push_str(line.text);
            }
            // A comment at the head belongs to the rules below.
            Some(block) if last == Some(line.index.wrapping_sub(1)) && block.text.starts_with('#') => {
                block.text.push('\n');
                block.text.push_str(line.text);
            }
            _ => pieces.push(single),
        }
        last = Some(line.index);
    }
    pieces
}

/// What stands between `.Bd -literal` and `.Ed`.
fn literal_blocks(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut is_inside = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with(".Bd -literal") {
            is_inside = true;
            pieces.push(Piece::new(index + 1, ""));
        } else if line == ".Ed" {
            is_inside = false;
        } else if let (true, Some(piece)) = (is_inside, pieces.last_mut()) {
            piece.text.push_str(line);
            piece.text.push('\n');
        }
    }
    pieces
}

#[test]
fn lines_are_found_in_every_kind_of_document() {
    let markdown = "Use `keepalive run\n--idle 9`, `--json`.\n\n    make test       runs `this`\n\n```console\n$ ls  # all\n\
                    out\n```\n```sh\n# no\ncp a b\n```\n```\n# rules\ndefault idle=5\nconnect * off\n```\n";
    let source = |text: &str, format| Source {
        name: String::new(),
        text: text.to_owned(),
        format,
    };
    let piece = |number, text: &str| Piece {
        number,
        text: text.to_owned(),
    };
    let document = source(markdown, Format::Markdown);
    assert_eq!(
        document.commands(),
        [piece(4, "make test"), piece(7, "ls"), piece(12, "cp a b")]
    );
    assert_eq!(
        document.mentions(),
        [piece(1, "keepalive run --idle 9"), piece(2, "--json")]
    );
    assert_eq!(document.rules(), [piece(15, "# rules\ndefault idle=5\nconnect * off")]);
    let manual = ".Ql keepalive run ,\n.Dl $ ls \\e\n.Bd -literal\nconnect * off\n.Ed\n";
    let document = source(manual, Format::Manual);
    assert_eq!(document.commands(), [piece(2, "ls \\")]);
    assert_eq!(document.mentions(), [piece(1, "keepalive run")]);
    assert_eq!(document.rules(), [piece(4, "connect * off\n")]);
    let help =
        "The program's 'keepalive\n  list' or 'program a off', 'program NAME'\n  keepalive is:\n  keepalive check x\n";
    let document = source(help, Format::Help);
    assert_eq!(document.commands(), [piece(4, "keepalive check x")]);
    assert_eq!(document.mentions(), [piece(1, "keepalive list")]);
    assert_eq!(document.rules(), [piece(2, "program a off")]);
}
