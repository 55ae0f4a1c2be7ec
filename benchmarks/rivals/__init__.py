"""The other ways to train a head on a frozen backbone, for the benchmarks to compare with."""
