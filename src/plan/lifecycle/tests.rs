use super::*;

#[test]
fn phases_are_in_the_order_of_a_maintenance() {
    assert_eq!(Phase::ALL.map(Phase::as_str), ["open", "draining", "closed", "verifying", "ramping"]);
}
