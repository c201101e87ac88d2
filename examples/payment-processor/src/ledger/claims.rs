//! Claims: which pod is at what is pending. The same for payments and refunds, whose tables have the
//! columns for it in common.

/// Takes over one pending row by its id, if nobody is at it: `$1` the id, `$2` the seconds of the
/// claim, `$3` the hours for which the processor knows a key.
macro_rules! claim_one {
    ($table:literal, $columns:ident) => {
        concat!(
            "UPDATE ",
            $table,
            " SET claimed_until = now() + make_interval(secs => $2)
            WHERE id = $1 AND status = 'pending' AND claimed_until < now()
                AND created_at > now() - make_interval(secs => $3 * 3600) RETURNING ",
            $columns!()
        )
    };
}

/// Takes over some of the pending rows that nobody is at: `$1` the seconds of the claim, `$2` the
/// hours for which the processor knows a key, `$3` how many. Pods that do so at the same time get
/// different ones.
macro_rules! claim_some {
    ($table:literal, $columns:ident) => {
        concat!(
            "UPDATE ",
            $table,
            " SET claimed_until = now() + make_interval(secs => $1)
            WHERE id IN (
                SELECT id FROM ",
            $table,
            " WHERE status = 'pending' AND claimed_until < now()
                    AND created_at > now() - make_interval(secs => $2 * 3600)
                ORDER BY claimed_until LIMIT $3 FOR UPDATE SKIP LOCKED
            ) RETURNING ",
            $columns!()
        )
    };
}

pub(super) use {claim_one, claim_some};
