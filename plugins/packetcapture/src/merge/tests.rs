#![forbid(unsafe_code)]

use super::*;
use crate::fixture::{Random, record, times};

const ALL: Limits = Limits { format: Format::Pcap, runs: usize::MAX, bytes: usize::MAX, before: None };

fn ring(micros: &[u64]) -> Vec<u8> {
    micros.iter().flat_map(|micros| record(*micros, b"packet")).collect()
}

fn halves<'a>(first: &'a [u8], second: &'a [u8]) -> Span<'a> {
    Span { pieces: [first, second].into_iter().filter(|piece| !piece.is_empty()).collect() }
}

fn span(bytes: &[u8]) -> Span<'_> {
    halves(bytes, &[])
}

#[track_caller]
fn check(rings: &[&[u64]], limits: Limits, runs: &[&[u64]], taken: &[usize], held: bool) {
    let rings = rings.iter().map(|ring_times| ring(ring_times)).collect::<Vec<_>>();
    let spans = rings.iter().map(|bytes| span(bytes)).collect::<Vec<_>>();
    let batch = batch(&spans, &limits);
    assert_eq!(batch.runs.iter().map(|run| times(run)).collect::<Vec<_>>(), runs);
    assert_eq!(batch.taken, taken.iter().map(|records| records * 22).collect::<Vec<_>>());
    assert_eq!((batch.held, batch.damaged.len()), (held, 0));
}

fn before(micros: i64) -> Limits {
    Limits { before: Some(Stamp::from_nanos(micros * 1000)), ..ALL }
}

#[test]
fn records_of_several_rings_are_ordered_by_time() {
    check(&[], ALL, &[], &[], false);
    check(&[&[], &[]], ALL, &[], &[0, 0], false);
    check(&[&[1, 2], &[]], ALL, &[&[1, 2]], &[2, 0], false);
    check(&[&[1, 2, 5], &[3, 4, 6]], ALL, &[&[1, 2], &[3, 4], &[5], &[6]], &[3, 3], false);
    check(&[&[2], &[1], &[3]], ALL, &[&[1], &[2], &[3]], &[1, 1, 1], false);
    check(&[&[1_000_000], &[999_999]], ALL, &[&[999_999], &[1_000_000]], &[1, 1], false);
}

#[test]
fn records_of_one_time_stay_together() {
    check(&[&[1, 1], &[1, 1]], ALL, &[&[1, 1], &[1, 1]], &[2, 2], false);
}

#[test]
fn a_batch_ends_at_its_limits() {
    check(&[&[1, 3], &[2, 4]], Limits { runs: 3, ..ALL }, &[&[1], &[2], &[3]], &[2, 1], false);
    check(&[&[1, 3], &[2, 4]], Limits { bytes: 23, ..ALL }, &[&[1], &[2]], &[1, 1], false);
    check(&[&[1, 2, 3], &[]], Limits { bytes: 44, ..ALL }, &[&[1, 2]], &[2, 0], false);
    check(&[&[1, 2, 3], &[]], Limits { bytes: 66, ..ALL }, &[&[1, 2, 3]], &[3, 0], false);
}

#[test]
fn what_an_older_record_may_follow_is_held() {
    check(&[&[1, 5], &[2, 6]], before(5), &[&[1], &[2]], &[1, 1], true);
    check(&[&[1, 5], &[2, 6]], before(7), &[&[1], &[2], &[5], &[6]], &[2, 2], false);
    check(&[&[8], &[]], before(7), &[], &[0, 0], true);
    check(&[&[1, 2], &[]], before(7), &[&[1, 2]], &[2, 0], false);
}

#[test]
fn records_from_before_the_clock_was_set_back_are_not_held() {
    check(&[&[3_600_000_000], &[]], before(7), &[&[3_600_000_000]], &[1, 0], false);
}

#[test]
fn runs_do_not_go_around_the_laps_end() {
    let (first, second, other) = (ring(&[1, 3]), ring(&[4, 6]), ring(&[5]));
    let spans = [halves(&first, &second), span(&other)];
    let found = batch(&spans, &ALL);
    assert_eq!(found.runs.iter().map(|run| times(run)).collect::<Vec<_>>(), [vec![1, 3], vec![4], vec![5], vec![6]]);
    assert_eq!(found.taken, [88, 22]);
    let found = batch(&spans[..1], &ALL);
    assert_eq!(found.runs, [&first[..], &second[..]]);
    let found = batch(&[halves(&[], &second), span(&other)], &ALL);
    assert_eq!(found.taken, [44, 22]);
}

#[test]
fn what_is_not_a_record_is_neither_taken_nor_forgotten() {
    let good = ring(&[2]);
    for bad in [vec![0xff; 40], vec![0; 7], record(3, &[0; 9])[..24].to_vec()] {
        let damaged = [ring(&[1, 3]), bad].concat();
        let found = batch(&[span(&good), span(&damaged)], &ALL);
        assert_eq!(found.runs.iter().flat_map(|run| times(run)).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((found.taken, found.damaged), (vec![22, 44], vec![1]));
    }
}

#[test]
fn any_rings_come_out_sorted_and_whole() {
    let mut random = Random(42);
    for _ in 0..500 {
        let rings = (0..1 + random.below(5))
            .map(|source| {
                let mut now = 0;
                let records = (0..random.below(40)).map(|_| {
                    now += random.below(4);
                    record(now, &vec![source as u8; random.below(30) as usize])
                });
                let records = records.collect::<Vec<_>>();
                let middle = random.below(records.len() as u64 + 1) as usize;
                (records[..middle].concat(), records[middle..].concat())
            })
            .collect::<Vec<_>>();
        let mut at = vec![0; rings.len()];
        let mut out = Vec::new();
        loop {
            let spans = rings.iter().zip(&at).map(|((first, second), at)| match first.get(*at..) {
                Some(first) => halves(first, second),
                None => halves(&[], &second[at - first.len()..]),
            });
            let spans = spans.collect::<Vec<_>>();
            let limits = Limits { runs: 2 + random.below(9) as usize, bytes: random.below(400) as usize, ..ALL };
            let batch = batch(&spans, &limits);
            if batch.runs.is_empty() {
                break;
            }
            assert!(batch.runs.len() <= limits.runs);
            out.extend(batch.runs.concat());
            at.iter_mut().zip(batch.taken).for_each(|(at, taken)| *at += taken);
        }
        assert!(times(&out).is_sorted());
        assert_eq!(out.len(), rings.iter().map(|(first, second)| first.len() + second.len()).sum::<usize>());
    }
}
