//! What the benches share: the pool they run in, the yardstick, and settings that keep a run under a minute.

#[path = "../../bin/bench/peak.rs"]
mod peak;
#[path = "../../bin/bench/timing.rs"]
#[allow(dead_code, unused_imports, reason = "the command line uses more of it")]
mod timing;

use criterion::Criterion;
use std::time::Duration;

/// Runs `benches` on a pool of one worker for each core, as the command line does, with the machine's FMA peak printed before and
/// after: GFLOP/s are read against that, not against another day's. Throughputs are in operations, two a multiply-add, or in bytes.
pub fn run(benches: impl FnOnce(&mut Criterion) + Send) {
    let pool = rayon::ThreadPoolBuilder::new().build().expect("worker threads can be started");
    pool.install(|| {
        let yardstick = || {
            let (peak, threads) = (peak::fma_peak(), rayon::current_num_threads());
            eprintln!("yardstick: {peak:.1} GFLOP/s of multiply-adds without memory, on {threads} threads");
        };
        yardstick();
        let mut criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(400))
            .without_plots()
            .configure_from_args();
        benches(&mut criterion);
        yardstick();
        criterion.final_summary();
    });
}
