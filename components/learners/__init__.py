"""How a model comes to be: a learner owns optimisers and advances a model by one step."""
