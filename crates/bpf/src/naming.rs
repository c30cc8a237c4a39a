//! Stores the name of the program that connects or listens with its socket.

use crate::assembler::{Assembler, Condition, Helper, Label, Map, Operation, Register, Size};
use crate::established::SOCKET;
use crate::fields::{ReadTask, TaskFields};
use crate::matching::NAME;
use crate::sock_settings::CREATE;
use Condition::{Different, Equal};
use Register::{R0, R1, R2, R3, R4, R6, R7, R10};
use Size::Long;

/// Stores the name of the program that connects or listens: the name of its main thread, since other threads
/// may have different names.
pub(crate) fn note_name(code: &mut Assembler, names: Map, task: TaskFields, ends: Label) {
    match task.read {
        ReadTask::Typed => {
            code.call(Helper::GetCurrentTaskBtf);
            code.load(Long, R7, R0, task.leader);
            for half in [0, 8] {
                code.load(Long, R1, R7, task.name + half);
                code.store(Long, R10, NAME + half, R1);
            }
        }
        ReadTask::Copied => {
            code.call(Helper::GetCurrentTask);
            copy_from_kernel(code, 8, R0, task.leader, ends);
            code.load(Long, R1, R10, NAME);
            copy_from_kernel(code, 16, R1, task.name, ends);
        }
    }
    code.load(Long, R2, R6, SOCKET);
    code.jump_if(R2, Equal, 0, ends);
    code.map(R1, names);
    code.copy(R3, R10);
    code.compute(Operation::Add, R3, NAME.into());
    code.set(R4, CREATE);
    code.call(Helper::SkStorageGet);
    code.jump_if(R0, Equal, 0, ends);
    // The socket may have a name already, and may belong to another program now.
    for half in [0, 8] {
        code.load(Long, R1, R10, NAME + half);
        code.store(Long, R0, half, R1);
    }
}

/// Copies `length` bytes of the kernel's memory at `from` + `offset` to the stack; goes to `ends` on failure.
fn copy_from_kernel(code: &mut Assembler, length: i32, from: Register, offset: i16, ends: Label) {
    code.copy(R3, from);
    code.compute(Operation::Add, R3, offset.into());
    code.copy(R1, R10);
    code.compute(Operation::Add, R1, NAME.into());
    code.set(R2, length);
    code.call(Helper::ProbeReadKernel);
    code.jump_if(R0, Different, 0, ends);
}
