//! The verdict as one HTML page that needs nothing else: a table for each kernel and
//! device.

use crate::verdict::{Cell, Group, Verdict};

use super::format::Format;
use super::provenance::provenance_rows;
use super::tame::tame;
use super::words::{boot_words, healed_words, micros_words, millis_words, noted_words, seen_words};

/// Colours that stay readable on paper and without colour: the words say the same.
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3em .8em;border-bottom:1px solid #ccc}\
td.n{text-align:right}.pass{color:#176f2c}.skip{color:#8a6100}.fail,.error{color:#b3261e;font-weight:bold}";

const COLUMNS: [&str; 13] = [
    "scenario",
    "file system",
    "stable writes",
    "expected",
    "seen",
    "first catch",
    "window: median",
    "window: max",
    "healed / standing",
    "outcome",
    "reason",
    "why this was expected",
    "noted",
];

/// An HTML page.
pub const FORMAT: Format = Format {
    flag: "html",
    name: "an HTML page",
    make: |verdict| Ok(verdict_html(verdict)),
    #[cfg(test)]
    read: read::cells,
};

/// The verdict as an HTML page.
pub(super) fn verdict_html(verdict: &Verdict) -> String {
    let verdict = &tame(verdict);
    let tables: String = verdict.groups().iter().map(table).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <title>dixtrap: {word}</title><style>{STYLE}</style></head>\n<body>\n\
         <h1>dixtrap: <span class=\"{word}\">{word}</span></h1>\n\
         {reason}<p>exit status {status}, {seconds:.0} s, begun {started}, dixtrap {version}</p>\n\
         {tables}{provenance}</body></html>\n",
        word = verdict.verdict,
        reason = verdict.reason.as_ref().map_or_else(String::new, |reason| {
            format!("<p class=\"error\">{}</p>\n", escaped(reason))
        }),
        status = verdict.exit_status,
        seconds = verdict.seconds,
        started = verdict.started.to_rfc3339(),
        version = escaped(&verdict.version),
        provenance = provenance(verdict),
    )
}

/// Where the verdict comes from, as a table that is not open at first.
fn provenance(verdict: &Verdict) -> String {
    let rows: String = provenance_rows(verdict)
        .iter()
        .chain(&boot_words(verdict))
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escaped(name), escaped(value)))
        .collect();
    if rows.is_empty() {
        return rows;
    }
    format!("<details><summary>where this comes from</summary><dl>\n{rows}</dl></details>\n")
}

fn table(group: &Group<'_>) -> String {
    let head: String = COLUMNS.iter().map(|name| format!("<th>{name}</th>")).collect();
    let rows: String = group.cells.iter().map(|cell| row(cell)).collect();
    let (kernel, device) = (escaped(group.kernel), escaped(group.device));
    format!(
        "<h2>Linux {kernel}, device {device}</h2>\n\
         <table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n"
    )
}

fn row(cell: &Cell) -> String {
    let stable_writes = cell.stable_writes.map_or("-".to_owned(), |setting| setting.to_string());
    let races = healed_words(cell.healed, cell.standing).replace('/', " / ");
    let outcome = if cell.control { " (control)" } else { "" };
    let window = |figure: Option<f64>| micros_words(figure);
    let columns = [
        text(&cell.scenario),
        text(&cell.fs),
        text(&stable_writes),
        text(&cell.expect.to_string()),
        text(&seen_words(cell)),
        figure(&millis_words(cell.first_catch_ms)),
        figure(&window(cell.window_us.as_ref().and_then(|window| window.median))),
        figure(&window(cell.window_us.as_ref().and_then(|window| window.max))),
        figure(&races),
        format!("<td class=\"{0}\">{0}{outcome}</td>", cell.outcome),
        text(cell.reason.as_deref().unwrap_or("")),
        text(cell.why.as_deref().unwrap_or("")),
        text(&noted_words(cell).join("; ")),
    ];
    format!("<tr>{}</tr>\n", columns.concat())
}

fn text(words: &str) -> String {
    format!("<td>{}</td>", escaped(words))
}

fn figure(words: &str) -> String {
    format!("<td class=\"n\">{}</td>", escaped(words))
}

/// Text as HTML: a scenario's name or a console's words must not become markup.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
        out
    })
}

#[cfg(test)]
mod read {
    use crate::report::format::ToldCell;
    use crate::verdict::{CellOutcome, StableWrites, cell_name};

    /// What this format tells of each cell.
    pub fn cells(page: &str) -> Vec<ToldCell> {
        let unescape = |t: &str| t.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        // The heads of the tables have no `td`.
        let rows = page.split("<tr>").filter(|row| row.contains("<td"));
        rows.map(|row| {
            let columns: Vec<String> = row
                .split("<td")
                .skip(1)
                .map(|column| {
                    unescape(column.split_once('>').unwrap().1.split("</td>").next().unwrap())
                })
                .collect();
            let stable_writes = match columns[2].as_str() {
                "-" => None,
                setting => Some(if setting == "on" { StableWrites::On } else { StableWrites::Off }),
            };
            let name = cell_name(&columns[0], &columns[1], stable_writes);
            let outcome =
                [CellOutcome::Pass, CellOutcome::Fail, CellOutcome::Error, CellOutcome::Skip]
                    .into_iter()
                    .find(|outcome| columns[9].starts_with(&outcome.to_string()))
                    .unwrap();
            ToldCell { name, outcome, words: columns.join(" ") }
        })
        .collect()
    }
}
