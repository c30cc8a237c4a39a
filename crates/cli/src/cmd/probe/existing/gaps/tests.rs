use super::*;

/// Returns a look at a connection after so many packets sent and received. What is sent requires an answer.
fn look(state: State, sent: u32, received: u32) -> Activity {
    Activity {
        state: Some(state),
        since_ack: Duration::ZERO,
        since_packet: Duration::ZERO,
        segments: sent.wrapping_add(received),
        segments_received: received,
        since_any: Duration::from_secs(100),
        data_segments_sent: 0,
        is_unacknowledged: sent > received,
        has_data: false,
    }
}

/// Feeds looks (seconds, packets sent, packets received) to a new connection.
fn gaps(looks: &[(u64, u32, u32)]) -> Gaps {
    let mut gaps = Gaps::new(&look(State::Established, 0, 0));
    for (at, sent, received) in looks {
        let end = gaps.note(Duration::from_secs(*at), &look(State::Established, *sent, *received));
        assert_eq!(end, None, "{at}");
    }
    gaps
}

#[test]
fn an_answer_shows_that_the_idle_time_was_survived() {
    assert_eq!(gaps(&[(10, 1, 1)]).lived_at_all(), Some(10.0));
    assert_eq!(gaps(&[(10, 1, 0), (11, 1, 1)]).lived_at_all(), Some(10.0));
    assert_eq!(gaps(&[(10, 0, 0), (30, 0, 1), (35, 1, 2)]).lived_at_all(), Some(30.0));
    assert_eq!(gaps(&[(10, 0, 0), (20, 0, 0)]).lived_at_all(), None);
}

#[test]
fn a_packet_without_an_answer_shows_nothing_yet() {
    let gaps = gaps(&[(10, 1, 1), (40, 2, 1), (44, 4, 1)]);
    assert!(!gaps.is_answered());
    assert_eq!((gaps.lived(), gaps.died()), (10.0, None));
}

#[test]
fn three_packets_without_an_answer_are_silence() {
    let mut gaps = gaps(&[(10, 1, 1), (40, 2, 1), (44, 4, 1)]);
    let end = gaps.note(Duration::from_secs(46), &look(State::Established, 4, 1));
    assert_eq!(end, Some(End::Idle(Outcome::Silence)));
    assert_eq!((gaps.lived(), gaps.died()), (10.0, Some(30.0)));
}

#[test]
fn a_reset_is_told_from_a_program_that_leaves() {
    let end = |sent, received| {
        let mut gaps = gaps(&[(10, 1, 1)]);
        let end = gaps.note(Duration::from_secs(30), &look(State::Closed, sent, received));
        (end, gaps.died())
    };
    assert_eq!(end(2, 2), (Some(End::Idle(Outcome::Reset)), Some(20.0)));
    assert_eq!(end(1, 2), (Some(End::Idle(Outcome::ResetUnasked)), Some(20.0)));
    assert_eq!(end(1, 1), (Some(End::Left), None));
}

#[test]
fn the_idle_time_before_the_first_look_is_no_evidence_of_a_short_timeout() {
    let mut gaps = gaps(&[(1, 1, 0)]);
    let end = gaps.note(Duration::from_secs(2), &look(State::Closed, 1, 1));
    assert_eq!((end, gaps.died()), (Some(End::Idle(Outcome::Reset)), Some(101.0)));
}

#[test]
fn an_acknowledgement_alone_requires_no_answer() {
    let mut gaps = gaps(&[(10, 1, 1)]);
    let acknowledgement = Activity {
        is_unacknowledged: false,
        ..look(State::Established, 2, 1)
    };
    assert_eq!(gaps.note(Duration::from_secs(30), &acknowledgement), None);
    assert!(gaps.is_answered());
    assert_eq!((gaps.lived(), gaps.quiet(Duration::from_secs(31))), (10.0, 1.0));
}

#[test]
fn an_answer_after_silence_shows_that_the_idle_time_was_survived() {
    let mut gaps = gaps(&[(10, 1, 1), (40, 4, 1)]);
    let end = gaps.note(Duration::from_secs(46), &look(State::Established, 4, 1));
    assert_eq!(end, Some(End::Idle(Outcome::Silence)));
    assert_eq!(
        gaps.note(Duration::from_secs(47), &look(State::Established, 5, 2)),
        None
    );
    assert_eq!((gaps.lived(), gaps.died()), (30.0, None));
}

#[test]
fn a_fin_on_an_idle_connection_is_the_peers() {
    let mut idle = gaps(&[(10, 1, 1)]);
    let end = idle.note(Duration::from_secs(40), &look(State::CloseWait, 2, 2));
    assert_eq!((end, idle.died()), (Some(End::Idle(Outcome::Closed)), Some(30.0)));
    let mut with_farewell = gaps(&[(10, 1, 1)]);
    let end = with_farewell.note(Duration::from_secs(40), &look(State::CloseWait, 3, 3));
    assert_eq!(end, Some(End::Idle(Outcome::Closed)));
}

#[test]
fn a_fin_after_a_request_is_no_timeout() {
    let mut asked = gaps(&[(10, 1, 0)]);
    let end = asked.note(Duration::from_secs(11), &look(State::CloseWait, 2, 2));
    assert_eq!((end, asked.died()), (Some(End::Finished), None));
    let mut answered = gaps(&[(10, 1, 1)]);
    let request = Activity {
        data_segments_sent: 1,
        ..look(State::CloseWait, 3, 3)
    };
    let end = answered.note(Duration::from_secs(40), &request);
    assert_eq!((end, answered.died()), (Some(End::Finished), None));
}
