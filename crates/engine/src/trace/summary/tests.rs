use super::*;
use crate::idle_timeout::Manner;
use crate::trace::ending::Settings as SocketSettings;
use std::time::{Duration, SystemTime};

/// Returns the ending of a connection to `peer` that lived for an hour without keepalive.
pub(super) fn ending(peer: &str) -> Ending {
    Ending {
        time: SystemTime::UNIX_EPOCH,
        owner: None,
        cgroup: None,
        container: None,
        local: "10.9.9.9:40000".parse().expect("an address"),
        peer: peer.parse().expect("an address"),
        direction: Some(Direction::Connect),
        cause: Cause::Closed,
        idle: Duration::ZERO,
        lived: Some(Duration::from_secs(3600)),
        settings: SocketSettings {
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

fn ended(cause: Cause, idle: f64) -> Ending {
    Ending {
        cause,
        idle: Duration::from_secs_f64(idle),
        ..ending("10.0.0.5:5432")
    }
}

/// The same with keepalive.
fn probed(cause: Cause, idle: f64, (idle_setting, interval, count): (u32, u32, u32)) -> Ending {
    let settings = SocketSettings {
        is_on: true,
        idle: idle_setting,
        interval,
        count,
        user_timeout: 0,
    };
    Ending {
        settings,
        ..ended(cause, idle)
    }
}

fn report(endings: &[Ending]) -> Report {
    let mut summary = Summary::new();
    for ending in endings {
        summary.add(ending);
    }
    summary.report()
}

#[track_caller]
fn only(endings: &[Ending]) -> Group {
    let mut report = report(endings);
    assert_eq!(report.groups.len(), 1, "{report:#?}");
    report.groups.remove(0)
}

#[track_caller]
fn forgotten(group: &Group) -> &Forgotten {
    match &group.meanings[..] {
        [Meaning::Forgotten(forgotten), ..] => forgotten,
        other => panic!("{other:?}"),
    }
}

fn many(cause: Cause, idle: &[f64]) -> Vec<Ending> {
    idle.iter().map(|idle| ended(cause, *idle)).collect()
}

#[test]
fn resets_after_the_same_idle_time_show_the_timeout() {
    let group = only(&many(Cause::ResetOnSend, &[350.4, 351.0, 352.0, 351.5]));
    let found = forgotten(&group);
    assert!(
        found.is_regular && !found.is_exact && found.presets.contains(&"aws-nlb"),
        "{found:?}"
    );
    assert!(!found.presets.contains(&"aws-gwlb"), "silent: {found:?}");
    assert_eq!(
        (found.all.shortest, found.all.longest, found.all.count),
        (350.4, 352.0, 4)
    );
    let cure = group.cure.clone().expect("keepalive helps");
    assert_eq!(
        (cure.timings, cure.preset, group.helps),
        ((116, 29, 5), Some("aws-nat"), Some(true))
    );
    let rule = format!("{} {}", group.matching(), cure.settings());
    assert_eq!(rule, "connect 10.0.0.5:5432 idle=116s interval=29s count=5");
    assert_eq!(group.shortest_lost, Some(350.4));
}

#[test]
fn silence_names_silent_middleboxes() {
    let group = only(&many(Cause::TimeoutOnSend, &[240.5, 241.0, 241.5]));
    let presets = &forgotten(&group).presets;
    assert!(
        presets.contains(&"azure") && !presets.contains(&"aws-nlb"),
        "{presets:?}"
    );
}

#[test]
fn one_loss_shows_no_timeout() {
    for idle in [&[351.0][..], &[351.0, 351.5], &[351.0, 900.0, 3600.0]] {
        let group = only(&many(Cause::ResetOnSend, idle));
        let found = forgotten(&group);
        assert!(!found.is_regular && found.presets.is_empty(), "{found:?}");
        // The timeout may be shorter: what suits every known middlebox.
        let timings = group.cure.map(|cure| cure.timings);
        assert_eq!(timings, Some((60, 15, 5)));
    }
    let group = only(&many(Cause::ResetOnSend, &[9.0]));
    assert_eq!(group.cure.map(|cure| cure.timings), Some((3, 1, 5)));
}

#[test]
fn cures_are_shorter_than_the_shortest_loss() {
    for shortest in [4.0, 10.0, 60.0, 350.0, 3600.0, 100_000.0] {
        for count in [1, 2, 5] {
            let idle: Vec<f64> = (0..count).map(|step| shortest + f64::from(step) / 10.0).collect();
            let cure = only(&many(Cause::TimeoutOnSend, &idle)).cure.expect("keepalive helps");
            let (idle, interval, count) = cure.timings;
            assert!(
                f64::from(idle + 2 * interval) < shortest && count == 5,
                "{shortest}: {cure:?}"
            );
        }
    }
}

#[test]
fn a_program_that_speaks_regularly_shows_no_timeout() {
    let group = only(&many(Cause::ResetOnSend, &[500.0, 500.5, 501.0, 500.2]));
    let found = forgotten(&group);
    assert!(
        found.is_regular && !found.is_exact && found.presets.is_empty(),
        "{found:?}"
    );
    assert_eq!(group.cure.map(|cure| cure.timings), Some((60, 15, 5)));
    // Unless others survived nearly as long.
    let mut endings = many(Cause::ResetOnSend, &[500.0, 500.5]);
    endings.push(ended(Cause::ClosedByPeer, 490.0));
    let group = only(&endings);
    assert!(forgotten(&group).is_exact);
    assert_eq!(group.cure.map(|cure| cure.timings), Some((166, 41, 5)));
}

#[test]
fn a_restart_of_the_server_does_not_shorten_the_timeout() {
    let mut endings = many(Cause::ResetOnSend, &[350.5; 14]);
    endings.push(ended(Cause::ResetOnSend, 6.0));
    let group = only(&endings);
    let found = forgotten(&group);
    assert_eq!((found.all.shortest, found.all.count, found.irregular), (350.5, 14, 1));
    assert_eq!(group.cure.map(|cure| cure.timings), Some((116, 29, 5)));
}

#[test]
fn a_fin_after_a_long_time_shows_that_the_path_still_knew_the_connection() {
    let mut endings = many(Cause::ResetOnSend, &[350.5, 351.0, 352.0]);
    endings.push(ended(Cause::ClosedByPeer, 300.0));
    let group = only(&endings);
    assert_eq!(
        (forgotten(&group).survived, group.longest_survived),
        (Some(300.0), Some(300.0))
    );
    // With keepalive the path was never idle for so long.
    endings.push(probed(Cause::ClosedByPeer, 340.0, (60, 10, 5)));
    assert_eq!(only(&endings).longest_survived, Some(300.0));
    // As many that survive longer idle times refute the timeout.
    endings.extend(many(Cause::ClosedByPeer, &[900.0, 1000.0, 1100.0, 2000.0]));
    let group = only(&endings);
    assert!(matches!(group.meanings[0], Meaning::NoTimeout { .. }), "{group:?}");
    assert_eq!((group.cure, group.helps), (None, None));
}

#[test]
fn a_reset_of_the_first_probe_asks_for_an_earlier_one() {
    let endings = [350.0, 600.0, 610.0].map(|idle| probed(Cause::ResetOnProbe, idle, (600, 60, 5)));
    let group = only(&endings[1..]);
    let found = forgotten(&group);
    assert_eq!(found.lost[1].1.map(|range| range.count), Some(2));
    let cure = group.cure.expect("keepalive helps");
    // The programs have keepalive: mode fill would keep their times.
    assert_eq!((cure.timings, cure.needs_cap), ((60, 15, 5), true));
    assert!(cure.settings().to_string().ends_with("mode=cap"));
}

#[test]
fn data_behind_an_unanswered_probe_was_lost_at_the_probe() {
    let group = only(&[probed(Cause::TimeoutOnSend, 130.0, (60, 100, 5))]);
    assert_eq!(group.cure.map(|cure| cure.timings), Some((20, 5, 5)));
}

#[test]
fn losses_between_early_probes_have_another_cause() {
    let endings = [20.0, 40.0, 59.0].map(|idle| probed(Cause::ResetOnSend, idle, (60, 15, 5)));
    let group = only(&endings);
    assert!(
        matches!(group.meanings[..], [Meaning::LostBetweenProbes(range)] if range.count == 3),
        "{group:?}"
    );
    assert_eq!((group.cure.clone(), group.helps), (None, Some(false)));
    // Others without keepalive show a timeout, which probes do not prevent.
    let mut endings = endings.to_vec();
    endings.extend(many(Cause::ResetOnSend, &[350.5; 14]));
    let group = only(&endings);
    assert_eq!((group.cure, group.helps), (None, Some(false)));
}

#[test]
fn late_probes_do_not_protect() {
    // The kernel's own times, and a connection without data for less.
    let group = only(&[probed(Cause::ResetOnSend, 351.0, (7200, 75, 9))]);
    assert_eq!(forgotten(&group).all, Range::of(351.0));
    // Too young for a probe.
    let young = Ending {
        lived: Some(Duration::from_secs(9)),
        ..probed(Cause::ResetOnSend, 8.0, (60, 15, 5))
    };
    assert_eq!(forgotten(&only(&[young])).all, Range::of(8.0));
}

#[test]
fn the_peers_own_timer_counts_data() {
    let endings = many(Cause::ClosedByPeer, &[75.0, 75.2, 75.4, 30.0]);
    let group = only(&endings);
    let [Meaning::EndedByTimer(timer)] = &group.meanings[..] else {
        panic!("{group:?}")
    };
    assert_eq!(
        (timer.manner, timer.idle.count, timer.despite_probes),
        (Manner::Close, 3, 0)
    );
    assert_eq!((timer.idle.shortest, timer.idle.longest), (75.0, 75.4));
    // Whether it counts probes was not seen.
    assert_eq!((group.cure.clone(), group.helps), (None, None));
    assert!(!group.is_ordinary());
    let endings = [75.0, 75.2, 75.4].map(|idle| probed(Cause::ClosedByPeer, idle, (20, 5, 5)));
    let group = only(&endings);
    assert_eq!((group.cure, group.helps), (None, Some(false)));
    let group = only(&many(Cause::ClosedByPeer, &[10.0, 20.0, 75.0, 200.0]));
    assert!(matches!(group.meanings[..], [Meaning::EndedByPeer { .. }]) && group.is_ordinary());
}

#[test]
fn resets_by_a_timer_may_be_prevented_unless_probes_were_answered() {
    let group = only(&many(Cause::Reset, &[600.0, 600.2, 600.4]));
    assert_eq!(
        (group.cure.map(|cure| cure.timings), group.helps),
        (Some((200, 50, 5)), None)
    );
    let endings = [8.0, 8.2, 8.4].map(|idle| probed(Cause::Reset, idle, (20, 5, 5)));
    let group = only(&endings);
    assert_eq!((group.cure, group.helps), (None, Some(false)));
}

#[test]
fn dead_peers_are_what_keepalive_is_for() {
    let group = only(&[probed(Cause::DeadPeer, 135.0, (60, 15, 5))]);
    let [
        Meaning::DeadPeer {
            count: 1,
            first_probe,
            may_be_forgotten: false,
        },
    ] = &group.meanings[..]
    else {
        panic!("{group:?}")
    };
    assert_eq!(
        (first_probe.shortest, group.helps, group.cure.clone()),
        (60.0, Some(true), None)
    );
    let group = only(&[probed(Cause::DeadPeer, 7875.0, (7200, 75, 9))]);
    assert!(matches!(
        group.meanings[..],
        [Meaning::DeadPeer {
            may_be_forgotten: true,
            ..
        }]
    ));
    assert_eq!(group.helps, None);
}

#[test]
fn connections_without_idle_time_show_nothing() {
    let group = only(&many(Cause::ResetOnSend, &[0.0, 0.2, 0.3]));
    assert!(group.meanings.is_empty() && group.cure.is_none(), "{group:?}");
    assert_eq!(group.count(), 3);
}

#[test]
fn peers_of_a_network_with_the_same_fate_are_one_group() {
    let to = |peer: &str, cause| Ending {
        peer: peer.parse().expect("an address"),
        ..ended(cause, 351.0)
    };
    let report = report(&[
        to("10.0.0.5:5432", Cause::ResetOnSend),
        to("[::ffff:10.0.0.6]:5432", Cause::ResetOnSend),
        to("10.0.0.7:5432", Cause::DeadPeer),
        to("10.0.0.5:443", Cause::ResetOnSend),
        to("10.0.1.5:5432", Cause::Closed),
        to("[2001:db8::1]:5432", Cause::TimeoutOnSend),
        to("[2001:db8::2]:5432", Cause::TimeoutOnSend),
    ]);
    let names: Vec<String> = report.groups.iter().map(Group::matching).collect();
    assert_eq!(
        names,
        [
            "connect 10.0.0.0/24:5432",
            "connect [2001:db8::/64]:5432",
            "connect 10.0.0.5:443",
            "connect 10.0.0.7:5432",
            "connect 10.0.1.5:5432",
        ]
    );
    assert_eq!((report.ended, report.others), (7, 0));
}

#[test]
fn clients_are_grouped_by_local_port() {
    let from = |network: u8| Ending {
        local: "[::ffff:10.9.9.9]:5432".parse().expect("an address"),
        peer: format!("[::ffff:192.0.{network}.7]:51000").parse().expect("an address"),
        direction: None,
        ..ended(Cause::TimeoutOnSend, 351.0)
    };
    let two = report(&[from(1), from(2)]);
    let names: Vec<String> = two.groups.iter().map(Group::matching).collect();
    assert_eq!(names, ["accept 192.0.1.7:5432", "accept 192.0.2.7:5432"]);
    assert!(!two.groups[0].is_direction_seen);
    let many: Vec<Ending> = (0..5).map(from).collect();
    assert_eq!(only(&many).matching(), "accept *:5432");
}

#[test]
fn rules_are_accepted_by_the_grammar() {
    let mut endings = Vec::new();
    for peer in [
        "10.0.0.5:1",
        "10.0.0.6:1",
        "[2001:db8::1]:2",
        "[2001:db8:1::1]:3",
        "[2001:db8:1::2]:3",
    ] {
        for cause in [Cause::ResetOnSend, Cause::ResetOnProbe] {
            let peer = peer.parse().expect("an address");
            endings.push(Ending {
                peer,
                ..probed(cause, 900.0, (800, 60, 5))
            });
        }
    }
    for group in report(&endings).groups {
        let cure = group.cure.as_ref().expect("keepalive helps");
        let rule = format!("{} {}", group.matching(), cure.settings());
        for line in keepalive_policy::parse::parse(rule.as_bytes()) {
            assert!(line.is_ok(), "{rule}");
        }
    }
}

#[test]
fn the_service_is_named_if_it_is_the_only_one() {
    let of = |cgroup: &str| Ending {
        cgroup: Some(cgroup.to_owned()),
        ..ended(Cause::ResetOnSend, 351.0)
    };
    let (one, other) = (of("/system.slice/app.service"), of("/system.slice/b.service"));
    assert_eq!(only(&[one.clone(), one.clone()]).unit.as_deref(), Some("app.service"));
    assert_eq!(only(&[one.clone(), other]).unit, None);
    assert_eq!(only(&[one, ended(Cause::ResetOnSend, 351.0)]).unit, None);
}

#[test]
fn millions_of_peers_take_bounded_memory_and_are_counted() {
    let mut summary = Summary {
        most: 64,
        ..Summary::new()
    };
    for number in 0..20_000_u32 {
        let peer = IpAddr::V4(Ipv4Addr::from_bits(number.wrapping_mul(2_654_435_761)));
        let port = 1000 + u16::try_from(number % 100).expect("a small number");
        let ending = Ending {
            peer: (peer, port).into(),
            ..ended(Cause::ResetOnSend, 351.0)
        };
        summary.add(&ending);
        assert!(summary.groups.len() <= 64);
    }
    let report = summary.report();
    assert_eq!((report.ended, report.groups.len()), (20_000, 64));
    let counted: u64 = report.groups.iter().map(Group::count).sum();
    assert_eq!(counted + report.others, 20_000);
    assert!(
        report
            .groups
            .iter()
            .all(|group| group.matching().starts_with("connect *:"))
    );
}
