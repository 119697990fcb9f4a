"""A lowered program as a workload: its operations at concrete sizes as layers, its sentences as phases."""

from hwsim.accelerator.lowered.layers import function_layers
from hwsim.accelerator.lowered.sentences import program_workload
from hwsim.accelerator.lowered.sparsity import check_sparsity

__all__ = ["check_sparsity", "function_layers", "program_workload"]
