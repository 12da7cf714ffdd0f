//! `dayfly bill`: what calls used and what they cost.

use super::Error;
use crate::{cli, client::Client, output};
use dayfly_meter::bill::{Bill, BillQuery, BillRow, By};

/// Asks for the bill and prints it.
pub async fn run(options: &cli::Bill) -> Result<(), Error> {
    let client = Client::new(&options.target)?;
    let query = BillQuery { by: options.by.clone(), from: options.from, to: options.to };
    let bill = fetch(&client, &query).await?;
    if options.json { Ok(output::json(&bill)?) } else { Ok(output::line(&render(&bill, &options.by))?) }
}

/// The bill of the account.
pub async fn fetch(client: &Client, query: &BillQuery) -> Result<Bill, Error> {
    let body = serde_json::to_value(query).map_err(std::io::Error::from)?;
    let answer = client.dayfly("GetBill", &body).await?;
    serde_json::from_value(answer).map_err(|error| crate::client::Error::Answer(error.to_string()).into())
}

/// The bill as a table, its total last.
pub fn render(bill: &Bill, by: &By) -> String {
    let heading = match by {
        By::Function => "function",
        By::Tag(key) => key,
        By::Day => "day (UTC)",
    };
    let row = |row: &BillRow, name: &str| {
        vec![
            name.to_owned(),
            row.requests.to_string(),
            row.errors.to_string(),
            row.billed_ms.to_string(),
            format!("{:.3}", row.mb_ms as f64 / 1024.0 / 1000.0),
            format!("{:.1}", row.cpu_us as f64 / 1000.0),
            output::money(row.cost, &bill.currency),
        ]
    };
    let name = |name: &str| match name.rsplit_once(":function:") {
        Some((_, short)) => short.to_owned(),
        None if name.is_empty() => "(none)".to_owned(),
        None => name.to_owned(),
    };
    let mut rows: Vec<Vec<String>> = bill.rows.iter().map(|entry| row(entry, &name(&entry.name))).collect();
    rows.push(row(&bill.total, "total"));
    output::table(
        &[heading, "calls", "errors", "billed ms", "GB-seconds", "CPU ms", "cost"],
        &rows,
        &[1, 2, 3, 4, 5, 6],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_shows_its_rows_and_their_total() {
        let row =
            BillRow { name: "arn:aws:lambda:r:0:function:f".into(), requests: 2, billed_ms: 7, ..BillRow::default() };
        let total = BillRow { requests: 2, billed_ms: 7, ..BillRow::default() };
        let text = render(&Bill { currency: "USD".into(), rows: vec![row], total }, &By::Function);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][0], "FUNCTION");
        assert_eq!(lines[1][..4], ["f", "2", "0", "7"]);
        assert_eq!(lines[2][..4], ["total", "2", "0", "7"]);
    }
}
