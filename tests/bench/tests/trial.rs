//! That the bench works. No figure is judged: they say nothing on a machine that runs tests meanwhile.

use std::process::Command;

use daypass_tests::{Failure, Place, Story, ensure};
use serde_json::Value;

#[test]
fn it_measures_everything_beside_a_baseline() -> Story {
    let place = Place::new()?;
    let json = place.path().join("new/figures.json");
    let ran = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--trial", "--json"])
        .arg(&json)
        .arg("--folder")
        .arg(place.path())
        .output()
        .map_err(Failure::machine("run the bench"))?;
    let (table, told) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    ensure(ran.status.success(), "success", format!("{table}{told}"))?;
    let text = std::fs::read_to_string(&json).map_err(Failure::machine("read the figures"))?;
    let run: Value = serde_json::from_str(&text).map_err(|error| Failure::unexpected("JSON", error))?;
    let reports = run.get("reports").and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<_> = reports.iter().filter_map(|report| report.get("bench")?.as_str()).collect();
    ensure(names == ["store", "token"], "both benches", &text)?;
    for line in reports.iter().filter_map(|report| report.get("lines")?.as_array()).flatten() {
        let what = line.get("what").and_then(Value::as_str).unwrap_or_default();
        ensure(table.contains(what), what, &table)?;
        let measured = [line].into_iter().chain(line.get("beside").and_then(Value::as_array).into_iter().flatten());
        for figures in measured {
            for figure in ["/per_second/median", "/busy_us/p5", "/busy_us/median", "/busy_us/p95"] {
                let value = figures.pointer(figure).and_then(Value::as_f64).unwrap_or_default();
                ensure(value > 0.0, format!("a figure at {figure}"), figures)?;
            }
        }
    }
    for subject in ["store, 1 at once", "store with 20 grants, 16 at once", "issuer, 1 connection"] {
        let line = reports.iter().filter_map(|report| report.get("lines")?.as_array()).flatten();
        let line = line.into_iter().find(|line| line.get("what").and_then(Value::as_str) == Some(subject));
        let beside = line.and_then(|line| line.get("beside")?.as_array()).map_or(0, Vec::len);
        ensure(beside > 0, format!("`{subject}` beside a baseline"), &text)?;
    }
    let left = std::fs::read_dir(place.path()).map_err(Failure::machine("look into the folder"))?.count();
    ensure(left == 1, "nothing left but the figures", left)
}
