use super::*;
use keepalive_engine::trace::ending::{Ending, Settings};
use keepalive_engine::trace::summary::Summary;
use serde_json::Value;
use std::time::{Duration, SystemTime};

fn ending(peer: &str, cause: Cause, idle: u64) -> Ending {
    Ending {
        time: SystemTime::UNIX_EPOCH,
        owner: None,
        cgroup: Some(String::from("/system.slice/app.service")),
        container: None,
        local: "10.9.9.9:40000".parse().expect("an address"),
        peer: peer.parse().expect("an address"),
        direction: Some(Direction::Connect),
        cause,
        idle: Duration::from_secs(idle),
        lived: Some(Duration::from_secs(7200)),
        settings: Settings {
            is_on: false,
            idle: 7200,
            interval: 75,
            count: 9,
            user_timeout: 0,
        },
        unanswered_probes: 0,
        retransmits: 0,
        errno: None,
    }
}

fn with_keepalive(ending: Ending, (idle, interval, count): (u32, u32, u32)) -> Ending {
    let settings = Settings {
        is_on: true,
        idle,
        interval,
        count,
        user_timeout: 0,
    };
    Ending { settings, ..ending }
}

fn report(endings: &[Ending]) -> Report {
    let mut summary = Summary::new();
    for ending in endings {
        summary.add(ending);
    }
    summary.report()
}

#[track_caller]
fn shown(endings: &[Ending]) -> String {
    let text = text(&report(endings));
    for line in text.lines() {
        let is_rule = line.contains("--rule '") || line.contains("  connect") || line.contains("  accept");
        assert!(is_rule || display_width(line) <= WIDTH, "{line}");
    }
    text
}

#[test]
fn text_has_what_was_lost_what_that_means_and_the_cure() {
    let mut endings = Vec::new();
    for idle in [350, 351, 352, 352] {
        endings.push(ending("10.0.0.5:5432", Cause::ResetOnSend, idle));
    }
    endings.push(ending("10.0.0.5:5432", Cause::Closed, 3));
    endings.push(ending("10.0.0.9:443", Cause::Closed, 3));
    assert_eq!(
        shown(&endings),
        "10.0.0.5:5432: 4 reset-on-send, 1 closed
  4 connections were reset when they spoke after 350 to 352 s idle: the path
    forgets after at most 350 s, as aws-nat, aws-nlb and others do.
  To keep such connections, one of:
    keepalive run \\
      --rule 'connect 10.0.0.5:5432 idle=116s interval=29s count=5' \\
      -- COMMAND
    keepalive run --preset aws-nat -- COMMAND
    keepalive unit enable app.service \\
      --rule 'connect 10.0.0.5:5432 idle=116s interval=29s count=5'
  or in /etc/keepalive.conf:
    connect 10.0.0.5:5432  idle=116s interval=29s count=5

1 connection of other peers or ports ended, none by a loss.
"
    );
}

#[test]
fn each_meaning_is_a_sentence() {
    let to = |cause, idle| ending("10.0.0.5:5432", cause, idle);
    let probed = |cause, idle| with_keepalive(to(cause, idle), (60, 15, 5));
    let late = |cause, idle| with_keepalive(to(cause, idle), (7200, 75, 9));
    for (endings, words) in [
        (
            vec![to(Cause::ResetOnSend, 400)],
            "1 connection was reset when it spoke after 400 s idle: the path, or the peer, had forgotten it. One loss shows no timeout.",
        ),
        (
            vec![to(Cause::TimeoutOnSend, 400), to(Cause::TimeoutOnSend, 7300)],
            "2 connections got no acknowledgement of data after 400 s to 2 h 2 min idle: the path forgets after at most 400 s, or the peer was gone.",
        ),
        (
            vec![to(Cause::ResetOnSend, 7), to(Cause::ClosedByPeer, 6)],
            "1 connection was reset when it spoke after 7 s idle: the path forgets after 7 s. It still knew one after 6 s.",
        ),
        (
            vec![late(Cause::ResetOnProbe, 7200); 3],
            "3 connections were reset by a keepalive probe after 2 h idle: the path, or the peer, forgets after at most 2 h.",
        ),
        (
            vec![probed(Cause::ResetOnSend, 20)],
            "1 connection was lost 20 s after the last answer, although keepalive was on: the peer forgot it, as when it restarts, or a timer that does not count probes ended it. Keepalive does not prevent that.",
        ),
        (
            vec![probed(Cause::DeadPeer, 135)],
            "Keepalive closed 1 connection, which got no answer to probes from 60 s on: the peer was down or could not be reached. That is what keepalive is for.",
        ),
        (
            vec![late(Cause::DeadPeer, 7875)],
            "or the path had forgotten it before the first probe. To measure: keepalive probe 10.0.0.5:5432",
        ),
        (
            vec![to(Cause::ClosedByPeer, 75); 3],
            "The peer closed 3 connections after 75 s idle: that is its own idle timeout. Keepalive cannot help if that counts data alone, as the timer of a program does.",
        ),
        (
            vec![probed(Cause::ClosedByPeer, 75); 3],
            "It does not count keepalive probes: keepalive was on, and cannot help. Raise it, or let the program send something.",
        ),
        (
            vec![to(Cause::Reset, 600); 3],
            "3 connections were reset after 600 s idle, without having sent anything: that is a timer of the path or the peer",
        ),
        (
            vec![to(Cause::Reset, 8)],
            "1 connection was reset by the peer or the path, without having sent anything, after 8 s idle; no timeout is seen in that.",
        ),
        (
            vec![
                to(Cause::ResetOnSend, 100),
                to(Cause::ClosedByPeer, 200),
                to(Cause::ClosedByPeer, 300),
            ],
            "1 connection was lost after 100 s idle, but others were still known after 300 s: that is no idle timeout.",
        ),
    ] {
        let text = shown(&endings);
        let unfolded = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unfolded.contains(words), "{words}\n{text}");
    }
}

#[test]
fn losses_beyond_the_limit_and_none_are_stated() {
    assert_eq!(text(&report(&[])), "No connection ended.\n");
    let ordinary = shown(&[
        ending("10.0.0.5:1", Cause::Closed, 1),
        ending("10.0.1.5:2", Cause::ClosedByPeer, 9),
    ]);
    assert_eq!(ordinary, "2 connections ended, none by a loss.\n");
    let endings: Vec<Ending> = (1..=30)
        .map(|port| ending(&format!("10.0.0.5:{port}"), Cause::ResetOnSend, 400))
        .collect();
    assert!(
        shown(&endings).ends_with("10 connections of further peers ended with losses: see --summary with --json.\n")
    );
    let report = Report {
        others: 7,
        ..report(&endings[..1])
    };
    assert!(text(&report).ends_with("7 connections are not in this summary: there are too many peers and ports.\n"));
}

#[test]
fn clients_are_named_by_the_local_port() {
    let from = |network: u8| Ending {
        local: "10.9.9.9:5432".parse().expect("an address"),
        direction: Some(Direction::Accept),
        ..ending(&format!("192.0.{network}.7:50000"), Cause::TimeoutOnSend, 400)
    };
    assert!(shown(&[from(1)]).starts_with("192.0.1.7, clients of local port 5432: 1 timeout-on-send\n"));
    let all: Vec<Ending> = (0..9).map(from).collect();
    let text = shown(&all);
    assert!(
        text.starts_with("clients of local port 5432: 9 timeout-on-send\n"),
        "{text}"
    );
    assert!(text.contains("accept *:5432 idle=60s"), "{text}");
}

#[test]
fn json_is_one_object_on_one_line() {
    let mut endings = vec![ending("10.0.0.5:5432", Cause::ResetOnSend, 351); 3];
    endings.push(ending("10.0.0.5:5432", Cause::ClosedByPeer, 300));
    endings.push(with_keepalive(ending("10.0.3.1:80", Cause::DeadPeer, 135), (60, 15, 5)));
    let text = json(&report(&endings));
    assert!(text.ends_with('\n') && text.lines().count() == 1);
    let object: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&object["ended"], &object["others"]), (&5.into(), &0.into()));
    let group = &object["summary"][0];
    assert_eq!(group["peer"], "10.0.0.5:5432");
    assert_eq!(group["direction"], "connect");
    assert_eq!(group["causes"][0]["cause"], "reset-on-send");
    assert_eq!(
        (&group["causes"][0]["count"], &group["causes"][0]["shortest_idle_s"]),
        (&3.into(), &351.0.into())
    );
    assert_eq!(
        (&group["shortest_lost_s"], &group["longest_survived_s"]),
        (&351.0.into(), &300.0.into())
    );
    assert_eq!(
        (&group["idle_s"], &group["interval_s"], &group["count"]),
        (&117.into(), &29.into(), &5.into())
    );
    assert_eq!(group["helps"], true);
    assert_eq!(group["meanings"][0], "forgotten");
    assert_eq!(group["config"], "connect 10.0.0.5:5432  idle=117s interval=29s count=5");
    assert_eq!(
        group["command"],
        "keepalive run --rule 'connect 10.0.0.5:5432 idle=117s interval=29s count=5' -- COMMAND"
    );
    assert_eq!(
        group["unit"],
        "keepalive unit enable app.service --rule 'connect 10.0.0.5:5432 idle=117s interval=29s count=5'"
    );
    let dead = &object["summary"][1];
    assert_eq!((&dead["helps"], &dead["command"]), (&true.into(), &Value::Null));
}
