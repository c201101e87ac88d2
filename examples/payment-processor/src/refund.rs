//! How much of a payment can be given back: arithmetic, and nothing else.

use crate::payment::Status;

/// Why nothing is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefuseRefund {
    #[error("it is not known yet whether the payment succeeds")]
    Pending,
    #[error("nothing of the payment is left to refund")]
    Nothing,
    #[error("must be at most {left}, which is what is left of the payment")]
    TooMuch { left: i64 },
}

/// How much to give back of a payment of which `refunded` was given back before. `requested` is
/// above 0; without it, all that is left.
///
/// # Errors
/// When that is nothing, or more than is left.
pub fn decide(
    status: Status,
    amount: i64,
    refunded: i64,
    requested: Option<i64>,
) -> Result<i64, RefuseRefund> {
    let left = match status {
        Status::Pending => return Err(RefuseRefund::Pending),
        Status::Declined => 0,
        Status::Succeeded => amount.saturating_sub(refunded),
    };
    match requested.unwrap_or(left) {
        _ if left <= 0 => Err(RefuseRefund::Nothing),
        more if more > left => Err(RefuseRefund::TooMuch { left }),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gives_back_what_is_left_and_no_more() {
        let decide = |refunded, requested| decide(Status::Succeeded, 1999, refunded, requested);
        assert_eq!(decide(0, None), Ok(1999));
        assert_eq!(decide(500, None), Ok(1499));
        assert_eq!(decide(500, Some(1499)), Ok(1499));
        assert_eq!(decide(500, Some(1500)), Err(RefuseRefund::TooMuch { left: 1499 }));
        assert_eq!(decide(1999, Some(1)), Err(RefuseRefund::Nothing));
    }

    #[test]
    fn gives_nothing_back_of_what_was_not_taken() {
        assert_eq!(decide(Status::Declined, 1999, 0, None), Err(RefuseRefund::Nothing));
        assert_eq!(decide(Status::Pending, 1999, 0, Some(1)), Err(RefuseRefund::Pending));
    }

    proptest! {
        #[test]
        fn any_row_of_refunds_ends_between_nothing_and_the_amount(
            amount in 1..=i64::MAX,
            requests in prop::collection::vec(prop::option::of(1..=i64::MAX), 0..20),
        ) {
            let mut refunded = 0_i64;
            for requested in requests {
                let decided = decide(Status::Succeeded, amount, refunded, requested);
                match decided {
                    Ok(part) => {
                        prop_assert!(part > 0 && requested.is_none_or(|requested| requested == part));
                        refunded = refunded.checked_add(part).unwrap();
                    }
                    Err(RefuseRefund::TooMuch { left }) => {
                        prop_assert!(left == amount - refunded && requested > Some(left));
                    }
                    Err(refused) => prop_assert!(refused == RefuseRefund::Nothing && refunded == amount),
                }
                prop_assert!((0..=amount).contains(&refunded));
            }
        }
    }
}
