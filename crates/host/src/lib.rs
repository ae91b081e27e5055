//! The outside world as traits: clock, chance, net, disk, threads.
