//! One message of each kind of wrong, told apart.

use kerolox_protocol::record::NewRecord;

use super::*;
use crate::ledger::Header;

const RUN: u64 = 77;
const SIZE: usize = 40;

fn id(producer: u32, sequence: u64) -> Identity {
    Identity { run: RUN, producer, sequence }
}

/// An acknowledgement of the message that `producer` sent as `sequence`.
fn ack(queue: i32, offset: i64, producer: u32, sequence: u64) -> Ack {
    let crc = crc32fast::hash(&id(producer, sequence).body(SIZE));
    Ack { broker: 0, queue, offset, producer, sequence, crc }
}

fn record(offset: i64, body: &[u8]) -> Vec<u8> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let new = NewRecord {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
    };
    let mut out = Vec::new();
    new.write(offset, 0, 0, &mut out);
    out
}

/// Compares `acks` with what queues 0 and 1 hold: offset and body of each message.
fn compare(acks: &[Ack], queues: [&[(i64, Vec<u8>)]; 2]) -> Report {
    let header = Header {
        run: RUN,
        topic: "T".into(),
        size: SIZE,
        brokers: vec!["h:1".into()],
        queues: vec![2],
    };
    let mut books = Books::new(&[Ledger { header, acks: acks.to_vec() }]);
    assert_eq!(books.places().len(), 2);
    for (place, messages) in queues.iter().enumerate() {
        assert_eq!(books.places()[place].queue, place as i32);
        let mut scan = books.scan(place);
        for (offset, body) in *messages {
            books.see(&mut scan, &View::parse(&record(*offset, body)).unwrap());
        }
    }
    let mut report = books.finish();
    assert_eq!(report.violations(false) > 0, !report.examples.is_empty());
    report.examples.clear();
    report
}

fn sent(offset: i64, producer: u32, sequence: u64) -> (i64, Vec<u8>) {
    (offset, id(producer, sequence).body(SIZE))
}

#[test]
fn all_is_well() {
    let acks = [ack(1, 0, 1, 1), ack(0, 5, 1, 0), ack(0, 7, 1, 2)];
    let zero = [sent(5, 1, 0), sent(6, 2, 0), sent(7, 1, 2), (8, b"of somebody else".to_vec())];
    let report = compare(&acks, [&zero, &[sent(0, 1, 1)]]);
    let expected = Report {
        acknowledged: 3,
        found: 3,
        unacknowledged_present: 1,
        foreign: 1,
        ..Report::default()
    };
    assert_eq!(report, expected);
    assert_eq!(report.violations(false), 0);
}

#[test]
fn a_missing_message_is_lost_and_one_elsewhere_is_misplaced() {
    let acks = [ack(0, 0, 1, 0), ack(0, 1, 1, 1), ack(0, 2, 1, 2)];
    let report = compare(&acks, [&[sent(0, 1, 0)], &[sent(0, 1, 2)]]);
    let expected = Report { acknowledged: 3, found: 1, lost: 1, misplaced: 1, ..Report::default() };
    assert_eq!(report, expected);
}

#[test]
fn two_messages_acknowledged_at_one_offset_cannot_both_be_there() {
    let acks = [ack(0, 0, 1, 0), ack(0, 0, 2, 0)];
    let report = compare(&acks, [&[sent(0, 2, 0)], &[]]);
    assert_eq!(report, Report { acknowledged: 2, found: 1, lost: 1, ..Report::default() });
}

#[test]
fn a_second_copy_is_doubled_acknowledged_or_not() {
    let acks = [ack(0, 0, 1, 0)];
    let queue = [sent(0, 1, 0), sent(1, 1, 0), sent(2, 9, 9)];
    let report = compare(&acks, [&queue, &[sent(0, 9, 9)]]);
    let expected = Report {
        acknowledged: 1,
        found: 1,
        doubled: 2,
        unacknowledged_present: 2,
        ..Report::default()
    };
    assert_eq!(report, expected);
}

#[test]
fn order_counts_within_a_queue_and_a_producer() {
    let acks = [ack(0, 0, 1, 3), ack(0, 1, 1, 1), ack(0, 2, 2, 0), ack(0, 3, 1, 4)];
    let queue = [sent(0, 1, 3), sent(1, 1, 1), sent(2, 2, 0), sent(3, 1, 4)];
    let report = compare(&acks, [&queue, &[]]);
    assert_eq!(report, Report { acknowledged: 4, found: 4, out_of_order: 1, ..Report::default() });
    assert_eq!((report.violations(false), report.violations(true)), (1, 0));
}

#[test]
fn a_changed_body_and_a_gap_are_told() {
    let acks = [ack(0, 0, 1, 0), ack(0, 2, 1, 1)];
    let mut changed = id(1, 1).body(SIZE);
    changed[SIZE - 1] ^= 1;
    let report = compare(&acks, [&[sent(0, 1, 0), (2, changed)], &[]]);
    let expected = Report { acknowledged: 2, found: 1, damaged: 1, gaps: 1, ..Report::default() };
    assert_eq!(report, expected);
}
