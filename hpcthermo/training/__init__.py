"""Training of neuroevolution potentials by exact gradients."""
