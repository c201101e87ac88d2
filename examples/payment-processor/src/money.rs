//! Money: whole numbers of a currency's minor unit. $19.99 is 1999 USD.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The currencies of ISO 4217 that are in use as money (its codes for metals, funds and tests are
/// not among them).
const CODES: &str = "\
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD \
    CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD \
    GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD \
    KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO \
    NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE \
    SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND \
    VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// A currency, by its code in ISO 4217.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency(String);

/// A text that is no currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the code of a currency in ISO 4217, such as USD")]
pub struct ParseCurrencyError;

impl Currency {
    pub fn usd() -> Self {
        Self("USD".to_owned())
    }

    pub fn code(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Currency {
    type Error = ParseCurrencyError;

    fn try_from(code: String) -> Result<Self, ParseCurrencyError> {
        let known = CODES.split(' ').any(|one| one == code);
        if known { Ok(Self(code)) } else { Err(ParseCurrencyError) }
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_currencies_by_their_codes() {
        for code in ["USD", "EUR", "ZWG", "AED"] {
            assert_eq!(Currency::try_from(code.to_owned()).unwrap().code(), code);
        }
        for other in ["", "usd", "DOL", "US", "USD ", "USD EUR", "XAU"] {
            assert_eq!(Currency::try_from(other.to_owned()), Err(ParseCurrencyError), "{other}");
        }
    }
}
