"""What came in: checked, and put in order for a backend. Messages about an argument stand here."""

from numbarank._arguments.buffers import Result, gradients_of, read_out, read_sequence
from numbarank._arguments.choice import check_losers, read_losers
from numbarank._arguments.devices import common_device, device_of_all, on_stream, read_stream
from numbarank._arguments.dtypes import (
    arithmetic_dtype,
    check_differentiable,
    check_number,
    gradient_dtype,
    is_float,
    loss_dtype,
    promoted_dtype,
    read_dtype,
)
from numbarank._arguments.gradients import check_gradient, check_no_gradient_needed, read_first_gradient, read_gradient
from numbarank._arguments.groups import (
    check_adjacent,
    check_counts_of_rows,
    check_one_is_given,
    read_counts,
    read_ids,
)
from numbarank._arguments.inputs import (
    Input,
    read,
    read_margin_of_pairs,
    read_mask,
    read_weights_of_pairs,
)
from numbarank._arguments.lists import (
    check_list_shapes,
    check_longest,
    check_weights_of_rows,
    describe_invalid_row,
    describe_invalid_weight,
)
from numbarank._arguments.operands import check_operand, describe_overflow, read_number
from numbarank._arguments.plain import are_plain, are_plain_buffers, are_plain_weights
from numbarank._arguments.retrieval import (
    Entries,
    check_rows,
    describe_invalid_query,
    read_ceiling,
    read_distance,
    read_embeddings,
    read_entries,
    read_weights_of_entries,
    read_whole,
    refuse_doubled_entry,
)
from numbarank._arguments.settings import read_finite_margin, read_flag, read_margin, read_power, read_seed
from numbarank._arguments.shapes import output_shape, read_shape
from numbarank._precision import compute_dtype

__all__ = [
    "Entries",
    "Input",
    "Result",
    "are_plain",
    "are_plain_buffers",
    "are_plain_weights",
    "arithmetic_dtype",
    "check_adjacent",
    "check_counts_of_rows",
    "check_differentiable",
    "check_gradient",
    "check_list_shapes",
    "check_longest",
    "check_losers",
    "check_no_gradient_needed",
    "check_number",
    "check_one_is_given",
    "check_operand",
    "check_rows",
    "check_weights_of_rows",
    "common_device",
    "compute_dtype",
    "describe_invalid_query",
    "describe_invalid_row",
    "describe_invalid_weight",
    "describe_overflow",
    "device_of_all",
    "gradient_dtype",
    "gradients_of",
    "is_float",
    "loss_dtype",
    "on_stream",
    "output_shape",
    "promoted_dtype",
    "read",
    "read_ceiling",
    "read_counts",
    "read_distance",
    "read_dtype",
    "read_embeddings",
    "read_entries",
    "read_finite_margin",
    "read_first_gradient",
    "read_flag",
    "read_gradient",
    "read_ids",
    "read_losers",
    "read_margin",
    "read_margin_of_pairs",
    "read_mask",
    "read_number",
    "read_out",
    "read_power",
    "read_seed",
    "read_sequence",
    "read_shape",
    "read_stream",
    "read_weights_of_entries",
    "read_weights_of_pairs",
    "read_whole",
    "refuse_doubled_entry",
]
