//! Upstreams that fail while their route is open.

use super::*;

#[test]
fn who_is_used_although_all_fail_is_told() {
    let mut proxy = web_with(2, "health = { get = \"/\" }");
    proxy.at("14:00:00");
    let unwell = |proxy: &mut Rehearsal, ports: &[u16]| {
        let upstreams = proxy.config.routes[0].upstreams.clone();
        let unwell = ports.iter().map(|port| {
            let upstream = upstreams[usize::from(*port) - 1].clone();
            super::super::Unwell { upstream, failure: format!("no from {port}") }
        });
        proxy.observe(Observed { unwell: unwell.collect(), ..Observed::default() });
        let is_due = proxy.is_due(at("14:00:01"));
        let told = |outs: &[crate::plan::snapshot::LeftOut]| outs.iter().map(|out| out.failure.clone()).collect();
        let route = proxy.look(at("14:00:01"));
        let (left_out, spared): (Vec<String>, Vec<String>) = (told(&route.left_out), told(&route.spared));
        (is_due, left_out.join(", "), spared.join(", "))
    };
    let told = |is_due: bool, left_out: &str, spared: &str| (is_due, left_out.to_owned(), spared.to_owned());
    assert_eq!(unwell(&mut proxy, &[2]), told(true, "no from 2", ""));
    assert_eq!(unwell(&mut proxy, &[1, 2]), told(true, "", "no from 1, no from 2"));
    assert_eq!(unwell(&mut proxy, &[1, 2]), told(false, "", "no from 1, no from 2"));
    assert_eq!(unwell(&mut proxy, &[]), told(true, "", ""));
    // With a single upstream nobody is left out, and it is told all the same.
    let mut proxy = web("health = { get = \"/\" }");
    proxy.at("14:00:00");
    assert_eq!(unwell(&mut proxy, &[1]), told(true, "", "no from 1"));
}
