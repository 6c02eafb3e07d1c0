//! From text to graph. Every number is bounded and every operation goes through the type rules, so a text
//! from anywhere gives a valid graph or an error with its line, never a panic.

use super::attributes::{Attributes, scalar};
use super::line::Line;
use crate::{Graph, GraphError, InputDecl, InputId, NodeId, Op, StateDecl, StateId, Update};
use std::collections::HashMap;

/// Reads the text form of a graph.
pub fn parse(text: &str) -> Result<Graph, GraphError> {
    let mut parser = Parser { graph: Graph::new(), labels: HashMap::new() };
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with('#') {
            parser.line(Line::new(line)).map_err(|problem| GraphError::Parse { line: i + 1, problem })?;
        }
    }
    parser.graph.set_scope("");
    Ok(parser.graph)
}

struct Parser<'a> {
    graph: Graph,
    labels: HashMap<&'a str, NodeId>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, mut line: Line<'a>) -> Result<(), String> {
        if line.eat("input ") {
            self.declare_input(&mut line)?;
        } else if line.eat("state ") {
            self.declare_state(&mut line)?;
        } else if line.eat("output ") {
            self.output(&mut line)?;
        } else if line.eat("update ") {
            self.update(&mut line)?;
        } else {
            self.node(&mut line)?;
        }
        line.end()
    }

    fn declare_input(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        let name = line.name()?;
        line.expect(":")?;
        let ty = line.ty()?;
        if self.graph.inputs.iter().any(|i| i.name == name) {
            return Err(format!("input '{name}' is declared twice"));
        }
        self.graph.inputs.push(InputDecl { name, ty });
        Ok(())
    }

    fn declare_state(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        let name = line.name()?;
        line.expect(":")?;
        let ty = line.ty()?;
        if self.graph.states.iter().any(|s| s.name == name) {
            return Err(format!("state '{name}' is declared twice"));
        }
        self.graph.states.push(StateDecl { name, ty });
        Ok(())
    }

    fn output(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        let name = line.name()?;
        line.expect("=")?;
        let node = self.operand(line)?;
        if self.graph.outputs.iter().any(|o| o.name == name) {
            return Err(format!("output '{name}' is declared twice"));
        }
        self.graph.output(&name, node);
        Ok(())
    }

    fn update(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        let name = line.name()?;
        line.expect("=")?;
        let node = self.operand(line)?;
        let state = self.state(&name)?;
        let (want, found) = (&self.graph.states[state.0 as usize].ty, self.graph.ty(node));
        if want != found {
            return Err(format!("state '{name}' is {want}, its update {found}"));
        }
        if self.graph.updates.iter().any(|u| u.state == state) {
            return Err(format!("state '{name}' is updated twice"));
        }
        self.graph.updates.push(Update { state, node });
        Ok(())
    }

    fn node(&mut self, line: &mut Line<'a>) -> Result<(), String> {
        let label = line.label()?;
        line.expect("=")?;
        let name = line.word("an operation")?;
        let (op, inputs, ty) = match name {
            "input" => {
                let name = line.name()?;
                let found = self.graph.inputs.iter().position(|i| i.name == name);
                let i = found.ok_or_else(|| format!("'{name}' is not an input"))?;
                (Some(Op::Input(InputId(i as u32))), Vec::new(), None)
            }
            "state" => {
                let name = line.name()?;
                (Some(Op::State(self.state(&name)?)), Vec::new(), None)
            }
            "const" => {
                let text = line.until(&[':']);
                line.expect(":")?;
                let ty = line.ty()?;
                (Some(Op::Const(scalar(ty.dtype, text)?)), Vec::new(), Some(ty))
            }
            _ => (None, self.operands(line)?, None),
        };
        let attributes = Attributes::read(line)?;
        let ty = match ty {
            Some(ty) => ty,
            None => {
                line.expect(":")?;
                line.ty()?
            }
        };
        let op = match op {
            Some(op) => op,
            None => attributes.operation(name, &ty)?,
        };
        let scope = if line.eat("#") { line.name()? } else { String::new() };
        self.graph.set_scope(&scope);
        let id = match op {
            Op::Input(_) | Op::State(_) => self.graph.leaf(op),
            op => self.graph.try_op(op, &inputs).map_err(|e| e.to_string())?,
        };
        if *self.graph.ty(id) != ty {
            return Err(format!("the result is {}, not {ty}", self.graph.ty(id)));
        }
        match self.labels.insert(label, id) {
            None => Ok(()),
            Some(_) => Err(format!("%{label} is defined twice")),
        }
    }

    fn state(&self, name: &str) -> Result<StateId, String> {
        let found = self.graph.states.iter().position(|s| s.name == name);
        found.map(|i| StateId(i as u32)).ok_or_else(|| format!("'{name}' is not a state"))
    }

    fn operand(&self, line: &mut Line<'a>) -> Result<NodeId, String> {
        let label = line.label()?;
        self.labels.get(label).copied().ok_or_else(|| format!("%{label} is not defined above"))
    }

    fn operands(&self, line: &mut Line<'a>) -> Result<Vec<NodeId>, String> {
        let mut out = Vec::new();
        if line.eat("(") {
            while !line.eat(")") {
                out.push(self.operand(line)?);
                if !line.eat(",") {
                    line.expect(")")?;
                    break;
                }
            }
        }
        Ok(out)
    }
}
