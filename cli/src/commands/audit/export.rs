//! `runbook audit export`.

use crate::args::{Export, Shape};
use crate::audit::server;
use crate::client::Client;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::key::cannot_read;
use crate::output::{self, Line};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// Writes entries to a file or to stdout; goes on at the end of a file's last whole line where that was asked.
pub fn run(args: &Export, context: &Context) -> Result<()> {
    let mut client = server::connect(context)?;
    server::begin(&mut client)?;
    let size = server::head(&mut client)?.size;
    let to = args.to.unwrap_or(size).min(size);
    if args.out.as_os_str() == "-" {
        let mut out = BufWriter::with_capacity(1 << 20, output::stdout());
        write(&mut client, args.from, to, args.shape, &mut out)?;
        return Ok(out.flush()?);
    }
    let (file, written) = open(&args.out, args.resume)?;
    let from = args.from + written;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut client, from, to, args.shape, &mut out)?;
    out.into_inner().map_err(|error| Error::from(error.into_error()))?.sync_all()?;
    let (end, count) = (to.max(from), to.saturating_sub(from));
    let done = format!("{}: positions {} to before {end}, {count} of them now", args.out.display(), args.from);
    output::diagnostic(&Line::new(done));
    Ok(())
}

/// Refuses a name that stands for something else than a file: a pipe has no end to go on from, and a device would be replaced.
pub fn ordinary(file: &Path) -> Result<()> {
    match std::fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            Err(Error::new(Kind::Input, format!("{} is not a regular file", file.display()), "Name a file."))
        }
        _ => Ok(()),
    }
}

/// Opens a file to write to. One that is there is gone on with, at the end of its last whole line, or left alone.
fn open(file: &Path, resume: bool) -> Result<(File, u64)> {
    let refused = |error: std::io::Error| {
        Error::new(
            Kind::Failed,
            format!("can't write {}: {error}", file.display()),
            "To continue an existing file, add --resume",
        )
    };
    if !resume {
        return Ok((OpenOptions::new().write(true).create_new(true).open(file).map_err(refused)?, 0));
    }
    ordinary(file)?;
    let mut opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file).map_err(refused)?;
    let (mut lines, mut whole) = (0, 0);
    let mut reader = BufReader::with_capacity(1 << 20, &opened);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(|error| cannot_read(file, &error))?;
        if !line.ends_with(b"\n") {
            break;
        }
        (lines, whole) = (lines + 1, whole + length as u64);
    }
    opened.set_len(whole)?;
    std::io::Seek::seek(&mut opened, std::io::SeekFrom::End(0))?;
    Ok((opened, lines))
}

/// Writes the entries from `from` to before `to`.
pub fn write(client: &mut Client, from: u64, to: u64, shape: Shape, out: &mut impl Write) -> Result<()> {
    server::payloads(client, from, to, |first, lines| {
        let events = |event: fn(u64, &[u8]) -> String| -> String {
            let positions = first..;
            positions.zip(lines.split(|byte| *byte == b'\n')).map(|(position, line)| event(position, line) + "\n").collect()
        };
        match shape {
            Shape::Jsonl => {
                out.write_all(lines)?;
                out.write_all(b"\n")?;
            }
            Shape::Cef => out.write_all(events(cef).as_bytes())?,
            Shape::Ocsf => out.write_all(events(ocsf).as_bytes())?,
        }
        Ok(())
    })
}

/// How grave a kind of entry is, from 0 to 10 as CEF counts.
fn severity(kind: &str) -> u8 {
    match kind {
        "guard.bypassed" | "guard.deactivated" | "break_glass.opened" | "epoch.opened" | "ledger.archived" => 9,
        "ddl.blocked" | "call.refused" | "apply.failed" => 7,
        "policy.changed" | "ddl.would_block" | "break_glass.closed" => 5,
        "revision.applied" | "revision.reverted" | "revision.stamped" | "permit.used" => 4,
        _ => 2,
    }
}

struct Event {
    payload: Value,
}

impl Event {
    fn new(payload: &[u8]) -> Self {
        Self { payload: serde_json::from_slice(payload).unwrap_or(Value::Null) }
    }

    fn text(&self, key: &str) -> &str {
        self.payload.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    fn millis(&self) -> i64 {
        chrono::DateTime::parse_from_rfc3339(self.text("recorded_at")).map_or(0, |time| time.timestamp_millis())
    }

    fn objects(&self) -> String {
        let objects = self.payload.get("objects").and_then(Value::as_array).into_iter().flatten();
        objects.filter_map(|object| object.get("identity").and_then(Value::as_str)).collect::<Vec<_>>().join(",")
    }
}

fn cef(position: u64, payload: &[u8]) -> String {
    let event = Event::new(payload);
    let header = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ");
    let value = |text: &str| text.replace('\\', "\\\\").replace('=', "\\=").replace('\n', "\\n").replace('\r', "\\r");
    let kind = event.text("kind");
    let name = match event.text("tag") {
        "" => kind.to_owned(),
        tag => format!("{kind} {tag}"),
    };
    let mut line = format!(
        "CEF:0|pg_runbook|pg_runbook|{}|{}|{}|{}|",
        env!("CARGO_PKG_VERSION"),
        header(kind),
        header(&name),
        severity(kind)
    );
    let (millis, position, objects) = (event.millis().to_string(), position.to_string(), event.objects());
    let fields = [
        ("rt", millis.as_str()),
        ("externalId", event.text("entry_id")),
        ("suser", event.text("session_role")),
        ("duser", event.text("current_role")),
        ("src", event.text("client_addr")),
        ("requestClientApplication", event.text("application")),
        ("act", event.text("verdict")),
        ("reason", event.text("reason")),
        ("msg", event.text("statement")),
        ("cs1Label", "position"),
        ("cs1", &position),
        ("cs2Label", "revision"),
        ("cs2", event.text("revision")),
        ("cs3Label", "objects"),
        ("cs3", &objects),
    ];
    let shown = |key: &str, text: &str| {
        let labelled = match key {
            "cs2Label" => event.text("revision"),
            "cs3Label" => &objects,
            _ => text,
        };
        !text.is_empty() && !labelled.is_empty()
    };
    let fields = fields.iter().filter(|(key, text)| shown(key, text)).map(|(key, text)| format!("{key}={}", value(text)));
    line += &fields.collect::<Vec<_>>().join(" ");
    line
}

fn ocsf(position: u64, payload: &[u8]) -> String {
    let event = Event::new(payload);
    let kind = event.text("kind");
    let failed = ["ddl.blocked", "call.refused", "apply.failed"].contains(&kind);
    let severity = match severity(kind) {
        9.. => 4,
        7.. => 3,
        5.. => 2,
        _ => 1,
    };
    // Class 6005, Datastore Activity; activity 99: other, named in activity_name.
    let mut line = json!({
        "category_uid": 6, "class_uid": 6005, "class_name": "Datastore Activity", "activity_id": 99, "activity_name": kind,
        "type_uid": 600_599, "time": event.millis(), "severity_id": severity,
        "status_id": if failed { 2 } else { 1 }, "status": if failed { "Failure" } else { "Success" },
        "message": event.text("statement"), "status_detail": event.text("reason"),
        "metadata": {
            "version": "1.3.0", "uid": event.text("entry_id"), "sequence": position,
            "product": {"name": "pg_runbook", "vendor_name": "pg_runbook", "version": env!("CARGO_PKG_VERSION")},
        },
        "actor": {"user": {"name": event.text("session_role")}, "app_name": event.text("application")},
        "unmapped": event.payload,
    });
    if !event.text("client_addr").is_empty() {
        line["src_endpoint"] = json!({"ip": event.text("client_addr")});
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = br#"{"application":"a|b","entry_id":"id","kind":"ddl.blocked","objects":[{"identity":"public.t"}],"reason":"no = \\ no","recorded_at":"2026-11-27T10:00:00.123456Z","session_role":"app","statement":"DROP\nTABLE t","tag":"DROP TABLE"}"#;

    #[test]
    fn cef_is_one_line_with_its_delimiters_escaped() {
        let line = cef(7, PAYLOAD);
        assert_eq!(
            line,
            format!(
                "CEF:0|pg_runbook|pg_runbook|{}|ddl.blocked|ddl.blocked DROP TABLE|7|rt=1795773600123 externalId=id suser=app \
                 requestClientApplication=a|b reason=no \\= \\\\ no msg=DROP\\nTABLE t cs1Label=position cs1=7 cs3Label=objects cs3=public.t",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn ocsf_has_the_members_that_its_class_requires() {
        let line: Value = serde_json::from_str(&ocsf(7, PAYLOAD)).unwrap();
        for member in ["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"] {
            assert!(!line[member].is_null(), "{member}");
        }
        assert_eq!((&line["status_id"], &line["metadata"]["sequence"]), (&json!(2), &json!(7)));
        assert_eq!(line["type_uid"], json!(6005 * 100 + 99));
    }
}
