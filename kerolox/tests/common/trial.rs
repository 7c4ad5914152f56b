//! What debug builds of the server do for tests: see `server/src/trial.rs`.

use kerolox_client::Connection;

use super::call::ask;

pub(crate) const PANIC_IN_CONNECTION: i32 = 0x7eed_0001;
pub(crate) const PANIC_IN_ENGINE: i32 = 0x7eed_0002;
const SET_CLOCK: i32 = 0x7eed_0003;
const FAIL_SYNCS: i32 = 0x7eed_0004;

/// Whether this build, and so the binary that cargo made with it, does all this.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub(crate) fn is_possible() -> bool {
    let possible = cfg!(debug_assertions) && std::env::var_os("KEROLOX_TEST_BIN").is_none();
    if !possible {
        println!("not a debug build: this test needs one");
    }
    possible
}

/// Sets the server's view of the machine's clock off by so much.
pub(crate) async fn set_clock(connection: &Connection, ms: i64) {
    let reply = ask(connection, SET_CLOCK, &[("ms", &ms.to_string())]).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}

/// From now on each sync fails.
pub(crate) async fn fail_syncs(connection: &Connection) {
    let reply = ask(connection, FAIL_SYNCS, &[]).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
}
