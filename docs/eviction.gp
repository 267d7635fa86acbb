# Draws docs/eviction.svg from what `cargo bench --bench eviction` prints:
#   cargo bench -q -p cachefs-core --features bench --bench eviction > /tmp/eviction
#   gnuplot -e 'data="/tmp/eviction"' docs/eviction.gp > docs/eviction.svg
set terminal svg size 960,320 background 'white'
set multiplot layout 1,3
set logscale x
set xrange [100:5000]
set yrange [0:1]
set xlabel 'objects of the cache'
set ylabel 'hit ratio'
set key top left
do for [i=0:2] {
    set title system(sprintf("awk -F'\"' '$2 { if ($2 != last) { last = $2; if (n++ == %d) print $2 } }' %s", i, data))
    plot data index i using 2:3 with linespoints title 'LRU', '' index i using 2:4 with linespoints title 'S3-FIFO'
}
