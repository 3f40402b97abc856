//! DuckDB and ClickHouse run the SQL of docs/archive-query.md, and find what Vidimus finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::querying::{PRINCIPAL, archived, run};
use crate::harness::{json_lines, output_of};

/// Runs statements and then queries, from a file of JSON, and prints the rows of each query as JSON.
const DUCKDB: &str = r#"
import duckdb, json, sys
given = json.load(open(sys.argv[1]))
connection = duckdb.connect()
connection.execute(given["views"])
results = {}
for name, query in given["queries"].items():
    connection.execute("CREATE OR REPLACE TEMP TABLE result AS " + query)
    names = [row[0] for row in connection.execute("DESCRIBE result").fetchall()]
    # Times are compared by the order of the rows.
    names = ", ".join(one for one in names if one != "time")
    results[name] = connection.execute("SELECT " + names + " FROM result").fetchall()
print(json.dumps(results))
"#;

const CLICKHOUSE: &str = r#"
import json, sys
from chdb import session
given = json.load(open(sys.argv[1]))
session = session.Session()
for view in given["views"].split(";"):
    if view.strip():
        session.query(view)
results = {}
for name, query in given["queries"].items():
    rows = str(session.query(query.rstrip().rstrip(";"), "JSONEachRow")).splitlines()
    rows = [json.loads(row) for row in rows if row]
    results[name] = [[value for key, value in row.items() if key != "time"] for row in rows]
print(json.dumps(results))
"#;

/// Python with a module, if it is there.
fn python(module: &str) -> Option<String> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/python3");
    let has = |python: &&str| {
        let import = format!("import {module}");
        let run = Command::new(python).args(["-c", &import]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let found = [own, "python3"].into_iter().find(has);
    let strict = std::env::var_os("VIDIMUS_TESTS_STRICT").is_some();
    assert!(found.is_some() || !strict, "{module} is missing, and VIDIMUS_TESTS_STRICT is set");
    if found.is_none() {
        eprintln!("SKIPPED: the Python module {module} is missing on this machine");
    }
    found.map(str::to_owned)
}

/// The blocks of SQL for an engine on the page: those without a name, and those with one.
fn blocks(engine: &str) -> (String, BTreeMap<String, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/archive-query.md");
    let page = fs::read_to_string(path).unwrap();
    let (mut views, mut queries) = (String::new(), BTreeMap::new());
    for block in page.split("```sql ").skip(1) {
        let (head, rest) = block.split_once('\n').unwrap();
        let sql = rest.split("```").next().unwrap();
        match head.split_once(' ') {
            None if head == engine => views += sql,
            Some((one, name)) if one == engine => drop(queries.insert(name.to_owned(), sql.into())),
            _ => {}
        }
    }
    (views, queries)
}

fn check(module: &str, engine: &str, program: &str) {
    let Some(python) = python(module) else { return };
    let serve = archived();
    let stores: Vec<_> = fs::read_dir(serve.home().join("bucket/archive")).unwrap().collect();
    let store = stores.into_iter().next().unwrap().unwrap().path();
    let trace = "779";
    let (views, queries) = blocks(engine);
    let names: Vec<_> = queries.keys().map(String::as_str).collect();
    assert_eq!(names, ["day", "principal", "trace", "verdicts"]);
    let filled = |sql: &str| {
        let sql = sql.replace("/archive/store=ID", &store.to_string_lossy());
        sql.replace("PRINCIPAL", PRINCIPAL).replace("TRACE", trace)
    };
    let queries: BTreeMap<_, _> =
        queries.into_iter().map(|(name, sql)| (name, filled(&sql))).collect();
    let given = json!({"views": filled(&views), "queries": queries}).to_string();
    fs::write(serve.home().join("given.json"), given).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", program, "given.json"]).current_dir(serve.home());
    let (code, stdout, stderr) = output_of(&mut command);
    assert_eq!(code, Some(0), "{stderr}");
    let found: Value = serde_json::from_str(&stdout).unwrap();

    let expected = |query: &[&str]| -> Vec<Value> {
        let common = ["query", "--archive", "--config", "config.toml", "--limit=0", "-o", "jsonl"];
        let (code, stdout, stderr) = run(&serve, &[&common[..], query].concat());
        assert_eq!(code, Some(0), "{stderr}");
        json_lines(&stdout)
    };
    let rows = |query: &[&str]| -> Value {
        let row = |one: &Value| json!([one["id"], one["fields"]["name"], one["verdict"]]);
        expected(query).iter().map(row).collect()
    };
    let of_principal = format!("principal_id:{PRINCIPAL}");
    assert_eq!(found["principal"], rows(&[&of_principal]), "{found}");
    assert_eq!(found["day"], rows(&["--since", "2025-05-16", "--until", "2025-05-17"]), "{found}");
    assert_eq!(found["trace"], rows(&["trace_id:779"]), "{found}");
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for one in expected(&[]) {
        *counts.entry(one["verdict"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let counts: Value =
        counts.into_iter().map(|(verdict, count)| json!([verdict, count])).collect();
    assert_eq!(found["verdicts"], counts, "{found}");
    for (name, least) in [("principal", 10), ("day", 3), ("trace", 1), ("verdicts", 3)] {
        assert!(found[name].as_array().unwrap().len() >= least, "{name}: {found}");
    }
}

#[test]
fn duckdb_finds_what_vidimus_finds() {
    check("duckdb", "duckdb", DUCKDB);
}

#[test]
fn clickhouse_finds_what_vidimus_finds() {
    check("chdb", "clickhouse", CLICKHOUSE);
}
