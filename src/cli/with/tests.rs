use super::*;

#[test]
fn a_lease_leaves_time_for_a_renewal() {
    assert!(parse_lease("2s").is_err());
    assert!(parse_lease("30").is_err());
    assert_eq!(parse_lease("3s"), Ok(SignedDuration::from_secs(3)));
}
