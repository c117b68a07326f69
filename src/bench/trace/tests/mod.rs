mod wire;

mod amplification;
mod chain;
mod counts;
mod drawing;
mod faults;
mod packets;
