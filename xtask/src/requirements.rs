//! The table of requirements, as a section of a manual page and in Markdown.

use keepalive_cli::REQUIREMENTS;
use std::fmt::Write as _;

/// The section in mdoc(7).
pub(crate) fn section() -> String {
    let mut section = String::from(
        ".Sh REQUIREMENTS\nA feature of the kernel decides, not the version, which is the first of Linux that has it.\n\
         .Xr keepalive-doctor 1\nshows which features the running kernel has.\n.Bl -tag -width Ds\n",
    );
    for row in &REQUIREMENTS {
        let _ = writeln!(section, ".It {}\n{}: {}.", row.what, row.since(), row.feature);
        if row.without != "-" {
            let _ = writeln!(section, "Without it: {}.", row.without);
        }
    }
    section + ".El\n"
}

/// `page` with the table between its marks.
///
/// # Errors
/// A mark is missing.
pub(crate) fn in_markdown(page: &str) -> Result<String, String> {
    const BEGIN: &str = "<!-- begin: make docs writes this table -->\n";
    const END: &str = "<!-- end -->\n";
    let marked = page
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = marked.ok_or("docs/requirements.md: the marks of the table are missing")?;
    let mut table = String::from("| what | Linux | what it requires of the kernel | without it |\n|---|---|---|---|\n");
    for row in &REQUIREMENTS {
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} |",
            row.what, row.linux, row.feature, row.without
        );
    }
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}
