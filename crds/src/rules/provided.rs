//! Rules of middleware that plugins provide.

use kube::core::Rule;

use super::rule;

pub fn plugins_are_for_named() -> Rule {
    rule(
        "(has(self.scope) && self.scope == 'Named') == (has(self.plugins) && size(self.plugins) > 0)",
        "plugins is for scope: Named, which needs it",
    )
    .field_path(".plugins")
}

pub fn identity_is_closed() -> Rule {
    rule(
        "!(self.phase in ['Authenticate', 'Authorize']) || !has(self.failureMode) || self.failureMode == 'Closed'",
        "failureMode of the phases Authenticate and Authorize is Closed: nobody gets in because nobody could be asked",
    )
    .field_path(".failureMode")
}

pub fn cache_is_of_callers() -> Rule {
    rule(
        "!has(self.cacheBy) || size(self.cacheBy) == 0 || (self.phase == 'Authenticate' && !has(self.body))",
        "cacheBy is for the phase Authenticate, without body: only who asks is kept",
    )
    .field_path(".cacheBy")
}

pub fn deadline_is_short() -> Rule {
    rule(
        "!self.matches('^([0-9]{1,6}(ms|s|m|h))+$') || duration(self) <= duration('10s')",
        "deadline must be at most 10s: each request waits for it",
    )
}

pub fn needs_grpc_protocol() -> Rule {
    rule(
        "self.protocol == 'Grpc' || !has(self.providesMiddleware) || size(self.providesMiddleware) == 0",
        "providesMiddleware needs protocol: Grpc, by which the plugin is asked",
    )
    .field_path(".providesMiddleware")
}
