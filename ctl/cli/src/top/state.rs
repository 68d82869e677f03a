//! What the person at the keyboard has chosen, and what keys do to it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{grid::Sort, views::View};

/// What a key asks of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// Data is to be read again now.
    Read,
    Quit,
}

/// The choices.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) view: View,
    sorts: [Sort; View::ALL.len()],
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) editing: bool,
    pub(super) help: bool,
    /// The clock stands still here, milliseconds since 1970; none: live.
    pub(super) stopped_ms: Option<u64>,
    /// Rows scrolled down.
    pub(super) offset: usize,
}

impl State {
    pub(super) fn new(view: View, filter: String) -> Self {
        Self {
            view,
            sorts: View::ALL.map(View::sort),
            filter,
            editing: false,
            help: false,
            stopped_ms: None,
            offset: 0,
        }
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.view as usize]
    }

    fn sort_mut(&mut self) -> &mut Sort {
        &mut self.sorts[self.view as usize]
    }

    /// How long ago the moment shown was, for a weftd whose clock says `now_ms`.
    pub(super) fn ago_s(&self, now_ms: u64) -> u64 {
        self.stopped_ms.map_or(0, |stopped| (now_ms.saturating_sub(stopped) + 500) / 1000)
    }

    /// Goes `seconds` back, or forward where negative; past the newest is live again.
    fn travel(&mut self, seconds: i64, now_ms: u64, reaches_s: u64) {
        let oldest = now_ms.saturating_sub(reaches_s.saturating_sub(1) * 1000);
        let at = self.stopped_ms.unwrap_or(now_ms).saturating_add_signed(-seconds * 1000);
        self.stopped_ms = (at < now_ms).then(|| at.max(oldest));
    }

    /// A key was pressed.
    pub(super) fn key(&mut self, key: KeyEvent, now_ms: u64, reaches_s: u64) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if matches!(key.code, KeyCode::Char('c' | 'd')) { Wish::Quit } else { Wish::Nothing };
        }
        if self.editing {
            self.edit(key.code);
            return Wish::Nothing;
        }
        if self.help {
            self.help = false;
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Left => self.travel(1, now_ms, reaches_s),
            KeyCode::Right => self.travel(-1, now_ms, reaches_s),
            KeyCode::Char('[') => self.travel(30, now_ms, reaches_s),
            KeyCode::Char(']') => self.travel(-30, now_ms, reaches_s),
            KeyCode::Home => self.travel(reaches_s as i64, now_ms, reaches_s),
            KeyCode::End => self.stopped_ms = None,
            KeyCode::Char(' ') => self.stopped_ms = self.stopped_ms.map_or(Some(now_ms), |_| None),
            code => {
                self.look(code);
                return if matches!(self.view, View::Flows) { Wish::Read } else { Wish::Nothing };
            }
        }
        Wish::Read
    }

    /// Keys that change what of the data is seen.
    fn look(&mut self, code: KeyCode) {
        let columns = self.view.columns().len();
        let at = self.view as usize;
        match code {
            KeyCode::Char(digit @ '1'..='5') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab => self.show((at + 1) % View::ALL.len()),
            KeyCode::BackTab => self.show((at + View::ALL.len() - 1) % View::ALL.len()),
            KeyCode::Char('s') => {
                let sort = self.sort_mut();
                *sort = Sort { column: (sort.column + 1) % columns, reversed: false };
            }
            KeyCode::Char('S') => {
                let sort = self.sort_mut();
                *sort = Sort { column: (sort.column + columns - 1) % columns, reversed: false };
            }
            KeyCode::Char('r') => self.sort_mut().reversed ^= true,
            KeyCode::Char('/') => self.editing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(10),
            KeyCode::PageDown => self.offset += 10,
            _ => {}
        }
    }

    fn show(&mut self, index: usize) {
        self.view = View::ALL[index];
        self.offset = 0;
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.editing = false,
            KeyCode::Esc => {
                self.editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
        self.offset = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn press(state: &mut State, keys: &[KeyCode]) -> Vec<Wish> {
        keys.iter().map(|code| state.key(KeyEvent::new(*code, KeyModifiers::NONE), NOW, 120)).collect()
    }

    #[test]
    fn time_is_travelled_as_far_as_is_remembered_and_no_further() {
        let mut state = State::new(View::Ports, String::new());
        for (keys, ago) in [
            (&[KeyCode::Left][..], 1),
            (&[KeyCode::Left, KeyCode::Left], 3),
            (&[KeyCode::Char('[')], 33),
            (&[KeyCode::Right], 32),
            (&[KeyCode::Home], 119),
            (&[KeyCode::Left], 119),
            (&[KeyCode::End], 0),
        ] {
            press(&mut state, keys);
            assert_eq!(state.ago_s(NOW), ago, "{keys:?}");
        }
        assert_eq!(state.stopped_ms, None, "live again");
        press(&mut state, &[KeyCode::Char(' ')]);
        assert_eq!((state.ago_s(NOW), state.ago_s(NOW + 5000)), (0, 5), "a pause stands still");
        press(&mut state, &[KeyCode::Right]);
        assert_eq!(state.stopped_ms, None, "forward past the newest is live");
    }

    #[test]
    fn a_filter_is_typed_and_keys_are_letters_meanwhile() {
        let mut state = State::new(View::Ports, String::new());
        let q = KeyCode::Char('q');
        press(&mut state, &[KeyCode::Char('/'), q, KeyCode::Char('5'), KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((state.filter.as_str(), state.editing, state.view), ("q", false, View::Ports));
        assert_eq!(press(&mut state, &[KeyCode::Esc, q]), [Wish::Nothing, Wish::Quit]);
        assert_eq!(state.filter, "");
    }

    #[test]
    fn each_view_keeps_its_order() {
        let mut state = State::new(View::Ports, String::new());
        press(&mut state, &[KeyCode::Char('s'), KeyCode::Char('r'), KeyCode::Tab]);
        assert_eq!((state.view, state.sort()), (View::Pmd, View::Pmd.sort()));
        press(&mut state, &[KeyCode::BackTab]);
        assert_eq!(state.sort(), Sort { column: View::Ports.sort().column + 1, reversed: true });
        press(&mut state, &[KeyCode::Char('5')]);
        assert_eq!(state.view, View::Drops);
    }
}
