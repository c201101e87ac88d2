//! Lines for people, lined up.

use std::fmt::Write;

use super::explain::Explanation;

/// Rows of cells, the columns lined up. The last cell of a row that is shorter than others goes on as far
/// as it likes.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let counts = |row: &&Vec<String>| row.len() == columns || column + 1 < row.len();
        let cells = rows.iter().filter(counts).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths = (0..columns).map(width).collect::<Vec<_>>();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A time with three digits that count.
pub fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(it) if it < 0.001 => format!("{:.0}us", it * 1e6),
        Some(it) if it < 1.0 => format!("{:.1}ms", it * 1e3),
        Some(it) => format!("{it:.2}s"),
    }
}

pub fn bytes(bytes: f64) -> String {
    format!("{:.1}Mi", bytes / f64::from(1 << 20))
}

/// An explanation for people.
pub fn explained(it: &Explanation) -> String {
    let mut text = format!("{}\n", it.request);
    let outcome = match (&it.plugin, &it.route, it.status) {
        (Some(plugin), Some(route), None) => format!("goes to {plugin} by {route}: {}", it.why),
        (Some(plugin), Some(route), Some(status)) => {
            format!("is for {plugin} by {route}, and answered {status}: {}", it.why)
        }
        (_, _, Some(status)) => format!("is answered {status}: {}", it.why),
        (_, _, None) => it.why.clone(),
    };
    text.push_str(&outcome);
    text.push('\n');
    section(&mut text, "routes whose host and path match, in the order in which they are looked at", || {
        let mut rows = Vec::new();
        for candidate in &it.candidates {
            let mark = if candidate.chosen { "*" } else { "" };
            let host = if candidate.host.is_empty() { "every host" } else { &candidate.host };
            let cells = [mark, candidate.method, host, &candidate.path, &candidate.plugin, &candidate.why];
            rows.push(cells.map(str::to_owned).to_vec());
            rows.extend(candidate.losers.iter().map(|why| vec![String::new(), format!("claimed by {why}")]));
        }
        rows
    });
    section(&mut text, "near", || it.near.iter().map(|near| vec![near.clone()]).collect());
    section(&mut text, "middleware, in this order", || {
        let rows = it.middleware.iter().map(|met| {
            let from = match &met.provider {
                Some(provider) => format!("{:?} {provider}", met.source),
                None => format!("{:?}", met.source),
            };
            let note = if met.refused { Some("refused: nothing goes past it") } else { met.bound.as_deref() };
            let (phase, priority) = (format!("{:?}", met.phase), met.priority.to_string());
            let cells = [&*phase, &*priority, &*met.name, &*met.kind, &*from, note.unwrap_or_default()];
            cells.map(str::to_owned).to_vec()
        });
        rows.collect()
    });
    let choice = it.choice.as_deref().unwrap_or_default();
    section(&mut text, &format!("pods: {choice}"), || {
        let rows = it.endpoints.iter().map(|pod| {
            vec![pod.pod.clone(), pod.address.clone(), pod.state.to_owned(), pod.in_flight.to_string()]
        });
        rows.collect()
    });
    text
}

fn section(text: &mut String, title: &str, rows: impl FnOnce() -> Vec<Vec<String>>) {
    let rows = rows();
    if !rows.is_empty() {
        // Writing into a string does not fail.
        writeln!(text, "\n{title}").ok();
        table(&rows).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_columns_up() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["longer".to_owned(), "b".to_owned()]];
        assert_eq!(table(&rows), "a       long\nlonger  b\n");
        let short = [
            vec![String::new(), "a remark".to_owned()],
            vec!["*".to_owned(), "b".to_owned(), "c".to_owned()],
        ];
        assert_eq!(table(&short), "   a remark\n*  b  c\n");
    }

    #[test]
    fn tells_times_in_the_unit_that_fits() {
        let told = [None, Some(0.000_25), Some(0.0125), Some(12.5)].map(seconds);
        assert_eq!(told, ["-", "250us", "12.5ms", "12.50s"]);
    }
}
