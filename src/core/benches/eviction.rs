//! Hit ratios of the eviction policy beside those of LRU: `make bench`. No time is
//! measured; docs/eviction.gp draws what this prints.

use cachefs_core::bench::traces;

/// Objects of the cache, of the 10,000 that are opened again and again.
const CAPACITIES: [usize; 7] = [100, 300, 500, 1000, 2000, 3000, 5000];

fn main() {
    println!("# trace, objects of the cache, hit ratio of LRU, of S3-FIFO");
    let count = traces::all(CAPACITIES[0]).len();
    for index in 0..count {
        for capacity in CAPACITIES {
            let trace = &traces::all(capacity)[index];
            let ratios = trace.ratios(capacity);
            let (name, lru, s3fifo) = (trace.name, ratios.lru, ratios.s3fifo);
            println!("\"{name}\" {capacity} {lru:.3} {s3fifo:.3}");
        }
        // A set of data of its own, to gnuplot.
        println!("\n");
    }
}
