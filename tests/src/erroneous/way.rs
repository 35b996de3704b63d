//! Ways in which a statement reaches the server.

use super::rng::Rng;
use super::wire::Step;
use serde_json::json;

/// How a statement is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// By itself, with the simple protocol.
    Simple,
    /// By itself, with the extended protocol.
    Extended,
    /// By EXECUTE in a DO block.
    Block,
    /// By EXECUTE in a PL/pgSQL function.
    Dynamic,
    /// As the body of a PL/pgSQL function.
    Body,
    /// As the upgrade text of a revision that is submitted.
    Submit,
    /// As the text of a permit that is asked for.
    Permit,
    /// As the upgrade text of a revision that is submitted and applied.
    Upgrade,
}

impl Way {
    /// What every server understands.
    pub const PLAIN: [Self; 5] = [Self::Simple, Self::Extended, Self::Block, Self::Dynamic, Self::Body];

    /// Whether a bare server can do the same.
    pub fn is_plain(self) -> bool {
        Self::PLAIN.contains(&self)
    }

    /// One of the plain ways, by chance.
    pub fn pick(rng: &mut Rng) -> Self {
        *rng.pick(&[Self::Simple, Self::Simple, Self::Simple, Self::Extended, Self::Block, Self::Dynamic, Self::Body])
    }

    /// The steps between BEGIN and ROLLBACK.
    pub fn steps(self, sql: &[u8]) -> Vec<Step> {
        let call = |before: &str, text: &[u8], after: &str| Step::Simple([before.as_bytes(), text, after.as_bytes()].concat());
        let submit = || {
            let text = String::from_utf8_lossy(sql);
            let revision = json!({"revision": "broken1", "message": "broken", "upgrade": text, "downgrade": ""});
            call("SELECT runbook.submit('", &quoted(revision.to_string().as_bytes()), "')")
        };
        match self {
            Self::Simple => vec![Step::Simple(sql.to_vec())],
            Self::Extended => vec![Step::Extended(sql.to_vec())],
            Self::Block => vec![call("DO $do$ BEGIN EXECUTE $exec$", sql, "$exec$; END $do$")],
            Self::Dynamic => vec![call("SELECT public.run('", &quoted(sql), "')")],
            Self::Body => vec![
                call("CREATE FUNCTION pg_temp.broken() RETURNS void LANGUAGE plpgsql AS $body$ BEGIN ", sql, "; END $body$"),
                call("SELECT pg_temp.broken()", b"", ""),
            ],
            Self::Submit => vec![submit()],
            Self::Permit => vec![call("SELECT runbook.request_permit('", &quoted(sql), "', 'broken')")],
            Self::Upgrade => vec![submit(), call("SELECT runbook.upgrade('broken1')", b"", "")],
        }
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| if *byte == b'\'' { &b"''"[..] } else { std::slice::from_ref(byte) }).copied().collect()
}
