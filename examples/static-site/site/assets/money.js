// Amounts are whole numbers of a currency's smallest unit.

/** As people write it: 1999 and "USD" give $19.99. */
export function money(amount, currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
    return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${amount} ${currency}`;
  }
}
