// CloudFormation's operations as handlers: they validate, record intent and answer. The stack engine does
// the rest; wake it with the StackId of the answer (a store watch on kind cfn.stack sees every one).
//
// CreateStack UpdateStack DeleteStack DescribeStacks DescribeStackEvents DescribeStackResources ListStacks
// GetTemplate ValidateTemplate. ValidateTemplate also takes Parameters, and answers a template with mistakes
// with a ValidationError of the first and, when the member WeirDiagnostics is true, with the list
// WeirDiagnostics [{Line, Column, Message}] instead of an error. Thread: the control thread.
#pragma once

#include "cfn/stack_engine.h"

namespace weir::cfn {

// `engine` outlives the dispatcher's use of these handlers.
void register_operations(api::Dispatcher& dispatcher, StackEngine& engine);

}  // namespace weir::cfn
