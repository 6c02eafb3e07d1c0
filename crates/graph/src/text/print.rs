//! A graph as text: declarations, one line per node, outputs and updates.

use super::attributes::{attributes_of, literal};
use super::line::Name;
use crate::{Graph, NodeId, Op, ops};
use std::fmt;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for i in &self.inputs {
            writeln!(f, "input {}: {}", Name(&i.name), i.ty)?;
        }
        for s in &self.states {
            writeln!(f, "state {}: {}", Name(&s.name), s.ty)?;
        }
        for id in self.ids() {
            node(self, id, f)?;
        }
        for o in &self.outputs {
            writeln!(f, "output {} = %{}", Name(&o.name), o.node.0)?;
        }
        for u in &self.updates {
            writeln!(f, "update {} = %{}", Name(&self.states[u.state.0 as usize].name), u.node.0)?;
        }
        Ok(())
    }
}

fn node(g: &Graph, id: NodeId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let node = g.node(id);
    write!(f, "%{} = {}", id.0, ops::name(&node.op))?;
    match &node.op {
        Op::Input(i) => write!(f, " {}", Name(&g.inputs[i.0 as usize].name))?,
        Op::State(s) => write!(f, " {}", Name(&g.states[s.0 as usize].name))?,
        Op::Const(c) => write!(f, " {}", literal(*c))?,
        op => {
            if !node.inputs.is_empty() {
                let operands: Vec<String> = node.inputs.iter().map(|i| format!("%{}", i.0)).collect();
                write!(f, "({})", operands.join(", "))?;
            }
            let attributes = attributes_of(op);
            if !attributes.is_empty() {
                let pairs: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, " {{{}}}", pairs.join(", "))?;
            }
        }
    }
    write!(f, " : {}", node.ty)?;
    match g.scope_of(id) {
        "" => writeln!(f),
        scope => writeln!(f, "  # {}", Name(scope)),
    }
}
