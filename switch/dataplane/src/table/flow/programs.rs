//! The programs that flows have, each once: thousands of flows to one pod share one.

use hashbrown::HashMap;

use crate::program::Program;

/// Programs by number, with how many flows use each.
#[derive(Debug, Default)]
pub(super) struct Programs {
    list: Vec<(Program, usize)>,
    numbers: HashMap<Program, u32>,
    free: Vec<u32>,
    /// What was asked for last: flows that come together often have the same program.
    last: u32,
}

impl Programs {
    /// A program in use.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Program {
        &self.list[number as usize].0
    }

    /// The program's number, used once more.
    pub(super) fn acquire(&mut self, program: Program) -> u32 {
        let Self { list, numbers, free, last } = self;
        if let Some((known, uses)) = list.get_mut(*last as usize)
            && *known == program
            && *uses > 0
        {
            *uses += 1;
            return *last;
        }
        let number = *numbers.entry(program).or_insert_with(|| match free.pop() {
            Some(number) => {
                list[number as usize] = (program, 0);
                number
            }
            None => {
                list.push((program, 0));
                list.len() as u32 - 1
            }
        });
        list[number as usize].1 += 1;
        *last = number;
        number
    }

    /// The opposite of [`Programs::acquire`].
    pub(super) fn release(&mut self, number: u32) {
        let (program, uses) = &mut self.list[number as usize];
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(program);
            self.free.push(number);
        }
    }
}
