//! `runbook man`: the manual pages, generated from the arguments and from the manual.

use crate::args::Man as Args;
use crate::args::manual::{self, EXIT_CODES, Page};
use crate::connect;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::output;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;

/// Prints all pages, or writes each to a file of its own.
pub fn run(args: &Args, context: &Context) -> Result<()> {
    let pages = pages()?;
    let Some(directory) = &args.out else {
        let text: String = pages.iter().map(|(_, text)| text.as_str()).collect();
        return Ok(output::stdout().write_all(text.as_bytes())?);
    };
    write(directory, &pages).map_err(|error| {
        Error::new(Kind::Failed, format!("{}: {error}", directory.display()), "Name a directory that you may write to.")
    })?;
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    let line = format!("wrote {} pages to {}", names.len(), directory.display());
    output::message(context.format(), "pages", json!(names), &line)
}

fn write(directory: &Path, pages: &[(String, String)]) -> std::io::Result<()> {
    fs::create_dir_all(directory)?;
    pages.iter().try_for_each(|(name, text)| fs::write(directory.join(name), text))
}

/// The name of the file and the text of each page, the main one first.
fn pages() -> Result<Vec<(String, String)>> {
    let mut command = manual::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&command, "", &mut pages)?;
    Ok(pages)
}

/// Adds the page of a command, and those of the commands below it.
fn add(command: &Command, verb: &str, pages: &mut Vec<(String, String)>) -> Result<()> {
    let man = Man::new(command.clone()).source(format!("runbook {}", env!("CARGO_PKG_VERSION"))).manual("pg_runbook");
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut part = |render: &dyn Fn(&mut Vec<u8>) -> std::io::Result<()>| -> Result<()> {
        let mut text = Vec::new();
        render(&mut text)?;
        parts.push(text);
        Ok(())
    };
    part(&|out| man.render_title(out))?;
    part(&|out| man.render_name_section(out))?;
    part(&|out| man.render_synopsis_section(out))?;
    part(&|out| man.render_description_section(out))?;
    part(&|out| man.render_options_section(out))?;
    if command.get_subcommands().any(|below| !below.is_hide_set()) {
        part(&|out| man.render_subcommands_section(out))?;
    }
    match manual::page(verb) {
        Some(page) => part(&|out| about_verb(page).to_writer(out))?,
        None => part(&|out| about_command().to_writer(out))?,
    }
    let preamble = Roff::new().render();
    let text: String = parts.iter().map(|part| String::from_utf8_lossy(part).replace(&preamble, "")).collect();
    pages.push((man.get_filename(), preamble + &ascii(&text)));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = if verb.is_empty() { below.get_name().to_owned() } else { format!("{verb} {}", below.get_name()) };
        add(below, &path, pages)?;
    }
    Ok(())
}

/// Other characters by their numbers: how a formatter reads them otherwise depends on its locale.
fn ascii(text: &str) -> String {
    let spelled = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    text.chars().map(spelled).collect()
}

/// The sections of a verb.
fn about_verb(page: &Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["PRINTS"]).text([roman(format!("The command prints {}", page.prints))]);
    roff.control("SH", ["ROLE"]).text([roman(format!("Role in the database: {}", page.role.text()))]);
    examples(&mut roff, page.examples);
    roff.control("SH", ["SEE ALSO"]).text([bold("runbook"), roman("(1) for files, environment variables and the exit status")]);
    roff
}

fn examples(roff: &mut Roff, commands: &[&str]) {
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for command in commands {
        roff.text([roman(*command)]);
    }
    roff.control("fi", []);
}

/// A project from its first file to its first upgrade.
const EXAMPLES: [&str; 6] = [
    "runbook init",
    "runbook revision -m 'create orders'",
    "runbook edit head",
    "runbook submit",
    "runbook plan",
    "runbook upgrade",
];

/// Files that the command reads or writes.
const FILES: [(&str, &str); 6] = [
    (
        "runbook.toml",
        "The configuration: the directory of revisions, and named environments with their URLs. It is the nearest file of that name in the \
         working directory or above it, or the one that --config names.",
    ),
    ("revisions/*.sql", "The revision files. runbook.toml can name another directory."),
    (
        "~/.postgresql/root.crt",
        "Certificates of the authorities that sign the server's certificate, unless sslrootcert names another file.",
    ),
    ("/var/run/postgresql", "Directory of the server's socket, if neither a URL nor PGHOST names a host."),
    ("KEY, KEY.pub, KEY.signed", "The auditor's private key, its public key, and the checkpoints that it has signed."),
    ("alembic.ini", "The configuration that \"import alembic\" reads."),
];

/// Variables that the command reads, but for those of libpq.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("DATABASE_URL", "Connection URL or key=value string, if --url is not given."),
    ("RUNBOOK_ENV", "Environment of runbook.toml, if --env is not given. It wins over DATABASE_URL and --url."),
    ("RUNBOOK_CONFIG", "Configuration file, if --config is not given."),
    ("HOME", "Directory above .postgresql/root.crt."),
    ("VISUAL", "Editor for \"edit\"."),
    ("EDITOR", "Editor for \"edit\", if VISUAL is not set."),
    ("NO_COLOR", "If set, the command uses no colour, not even on a terminal."),
    ("TERM", "If it is dumb, the command draws no progress bar."),
];

/// The sections of the main page.
fn about_command() -> Roff {
    let mut roff = Roff::new();
    examples(&mut roff, &EXAMPLES);
    let mut list = |heading: &str, entries: &[(String, String)]| {
        roff.control("SH", [heading]);
        for (name, text) in entries {
            roff.control("TP", []).text([bold(name)]).text([roman(text)]);
        }
    };
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let libpq = |names: &mut dyn Iterator<Item = &'static str>, text: &str| (joined(names), text.to_owned());
    let mut environment = owned(&ENVIRONMENT);
    environment.push(libpq(&mut connect::honoured(), "Options of libpq that the URL or string leaves out."));
    environment.push(libpq(
        &mut connect::refused_variables(),
        "An error, since the command does not support them, unless the value is the default of libpq or asks for nothing.",
    ));
    environment
        .push(libpq(&mut connect::ignored(), "Ignored. Without them a connection is not weaker, and goes to the same server."));
    list("FILES", &owned(&FILES));
    list("ENVIRONMENT", &environment);
    let codes: Vec<(String, String)> =
        EXIT_CODES.iter().map(|(code, meaning)| (code.to_string(), (*meaning).to_owned())).collect();
    list("EXIT STATUS", &codes);
    roff
}

fn joined(names: &mut dyn Iterator<Item = &'static str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
