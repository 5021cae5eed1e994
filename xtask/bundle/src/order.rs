//! Functions that are alike, side by side: brotli then says the second one as a change of the first from
//! close by. Those that are the same are there once.
//!
//! The compiler's output is full of twins and near twins (one generic function for two types), and
//! wasm-bindgen writes them by size. Ordered by likeness the same module packs 4 % smaller. Likeness is the share of
//! short byte strings that two bodies have in common; the order goes from each function to the one most
//! like it. It leaves out everything that would change what a function does: bodies are the same but for
//! the numbers of the functions that they call.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{CodeSection, FunctionSection, Module};
use wasmparser::{CodeSectionReader, FunctionBody, FunctionSectionReader, Parser, Payload, TypeRef};

/// Bytes of the strings that are compared: an instruction or two with their operands.
const STRING_BYTES: usize = 6;
/// A string in more functions than this says nothing about two of them.
const COMMON: usize = 200;

/// The same module with its functions in the order of their likeness, and those that are the same said once.
pub(crate) fn by_likeness(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = wasm.to_vec();
    // Two that call twins become twins when those are one.
    loop {
        let parts = Parts::read(&module)?;
        let (order, place) = parts.without_twins();
        if order.len() == parts.bodies.len() {
            let order = chain(&parts.bodies);
            let mut place = vec![0; order.len()];
            for (new, old) in order.iter().enumerate() {
                place[*old] = new as u32;
            }
            return rewritten(&module, parts.imported, order, place);
        }
        module = rewritten(&module, parts.imported, order, place)?;
    }
}

/// What a module has of functions.
struct Parts<'a> {
    imported: u32,
    types: Vec<u32>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self> {
        let mut parts = Self {
            imported: 0,
            types: Vec::new(),
            bodies: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        parts.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::FunctionSection(section) => {
                    parts.types = section.into_iter().collect::<Result<_, _>>()?;
                }
                Payload::CodeSectionEntry(body) => parts.bodies.push(&wasm[body.range()]),
                _ => {}
            }
        }
        Ok(parts)
    }

    /// The first of each, and where each then stands.
    fn without_twins(&self) -> (Vec<usize>, Vec<u32>) {
        let (mut order, mut place) = (Vec::new(), Vec::new());
        let mut first: HashMap<(u32, &[u8]), u32> = HashMap::new();
        for (function, own) in self
            .types
            .iter()
            .copied()
            .zip(self.bodies.iter().copied())
            .enumerate()
        {
            let at = *first.entry(own).or_insert_with(|| {
                order.push(function);
                order.len() as u32 - 1
            });
            place.push(at);
        }
        (order, place)
    }
}

fn rewritten(wasm: &[u8], imported: u32, order: Vec<usize>, place: Vec<u32>) -> Result<Vec<u8>> {
    let mut module = Module::new();
    Reordered {
        imported,
        order,
        place,
    }
    .parse_core_module(&mut module, Parser::new(0), wasm)
    .map_err(|error| anyhow!("can't reorder the module's functions: {error}"))?;
    Ok(module.finish())
}

struct Reordered {
    /// Imported functions keep their numbers, which come first.
    imported: u32,
    /// Old positions, in the new order; those that are missing are no more.
    order: Vec<usize>,
    /// New positions, by the old one.
    place: Vec<u32>,
}

type Outcome<T = ()> = Result<T, reencode::Error<std::convert::Infallible>>;

impl Reencode for Reordered {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Outcome<u32> {
        Ok(match function.checked_sub(self.imported) {
            Some(local) => self.imported + self.place.get(local as usize).copied().unwrap_or(local),
            None => function,
        })
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: FunctionSectionReader<'_>,
    ) -> Outcome {
        let types = section.into_iter().collect::<Result<Vec<u32>, _>>()?;
        for old in &self.order {
            functions.function(types[*old]);
        }
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Outcome {
        let bodies = section
            .into_iter()
            .collect::<Result<Vec<FunctionBody<'_>>, _>>()?;
        for old in self.order.clone() {
            self.parse_function_body(code, bodies[old].clone())?;
        }
        Ok(())
    }
}

/// Positions so that each is followed by the one most like it that is left.
fn chain(bodies: &[&[u8]]) -> Vec<usize> {
    let strings = strings(bodies);
    let mut holders: HashMap<u32, Vec<u32>> = HashMap::new();
    for (function, own) in strings.iter().enumerate() {
        for string in own {
            holders.entry(*string).or_default().push(function as u32);
        }
    }
    let telling: Vec<Vec<&[u32]>> = strings
        .iter()
        .map(|own| own.iter().map(|string| holders[string].as_slice()))
        .map(|lists| lists.filter(|list| (2..COMMON).contains(&list.len())).collect())
        .collect();
    let mut used = vec![false; bodies.len()];
    let mut shared = vec![0_u32; bodies.len()];
    let mut order = Vec::with_capacity(bodies.len());
    let mut unused = 0..bodies.len();
    let mut next = unused.next();
    while let Some(at) = next {
        used[at] = true;
        order.push(at);
        let mut touched = Vec::new();
        for list in &telling[at] {
            for other in list.iter().map(|other| *other as usize) {
                if !used[other] {
                    if shared[other] == 0 {
                        touched.push(other);
                    }
                    shared[other] += 1;
                }
            }
        }
        let mut best: Option<(f64, usize)> = None;
        for other in touched {
            let both = f64::from(std::mem::take(&mut shared[other]));
            let likeness = both / ((strings[at].len() + strings[other].len()) as f64 - both);
            // Equals go by position, so that the same input gives the same output.
            if best.is_none_or(|(most, first)| likeness > most || (likeness == most && other < first)) {
                best = Some((likeness, other));
            }
        }
        next = best
            .map(|(_, other)| other)
            .or_else(|| unused.find(|function| !used[*function]));
    }
    order
}

/// Each body's strings as hashes, rising, each once.
fn strings(bodies: &[&[u8]]) -> Vec<Vec<u32>> {
    let hash = |string: &[u8]| {
        string.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    bodies
        .iter()
        .map(|body| {
            let mut own: Vec<u32> = body.windows(STRING_BYTES).map(hash).collect();
            own.sort_unstable();
            own.dedup();
            own
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_encoder::{
        ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function, ImportSection,
        Instruction, RefType, TableSection, TableType, TypeSection,
    };

    /// Four functions that give a number each, by way of an imported one and of each other.
    fn sample() -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], [wasm_encoder::ValType::I32]);
        let mut imports = ImportSection::new();
        imports.import("m", "f", EntityType::Function(0));
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        for number in [1_000_000_i32, 77, 1_000_001, 78] {
            functions.function(0);
            let mut body = Function::new([]);
            let kin = if number < 100 { 77 } else { 1_000_000 };
            for _ in 0..3 {
                body.instruction(&Instruction::I32Const(kin))
                    .instruction(&Instruction::Drop);
            }
            // The first calls the last, the last what is imported.
            body.instruction(&Instruction::Call(if number == 1_000_000 { 4 } else { 0 }))
                .instruction(&Instruction::Drop)
                .instruction(&Instruction::I32Const(number))
                .instruction(&Instruction::End);
            code.function(&body);
        }
        let mut tables = TableSection::new();
        tables.table(TableType {
            element_type: RefType::FUNCREF,
            minimum: 4,
            maximum: None,
            table64: false,
            shared: false,
        });
        let mut exports = ExportSection::new();
        exports.export("first", ExportKind::Func, 1);
        exports.export("last", ExportKind::Func, 4);
        let mut elements = ElementSection::new();
        elements.active(
            None,
            &ConstExpr::i32_const(0),
            Elements::Functions((&[4, 3, 2, 1][..]).into()),
        );
        let mut module = Module::new();
        module
            .section(&types)
            .section(&imports)
            .section(&functions)
            .section(&tables)
            .section(&exports)
            .section(&elements)
            .section(&code);
        module.finish()
    }

    /// Functions 0 and 1 are the same, 2 calls 0, 3 calls 1; 2 and 3 are exported.
    fn chain_of_twins() -> Vec<u8> {
        let mut types = TypeSection::new();
        types.ty().function([], []);
        let (mut functions, mut code, mut exports) =
            (FunctionSection::new(), CodeSection::new(), ExportSection::new());
        for calls in [None, None, Some(0), Some(1)] {
            functions.function(0);
            let mut body = Function::new([]);
            match calls {
                Some(other) => body.instruction(&Instruction::Call(other)),
                None => body.instruction(&Instruction::Nop),
            };
            body.instruction(&Instruction::End);
            code.function(&body);
        }
        exports.export("a", ExportKind::Func, 2);
        exports.export("b", ExportKind::Func, 3);
        let mut module = Module::new();
        module
            .section(&types)
            .section(&functions)
            .section(&exports)
            .section(&code);
        module.finish()
    }

    /// What a function is, wherever it stands: the number that it gives, and that of the one it calls.
    fn meaning(wasm: &[u8]) -> (Vec<String>, Vec<i32>) {
        let (mut exports, mut numbers, mut calls, mut table) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::ExportSection(section) => {
                    exports = section.into_iter().map(Result::unwrap).collect();
                }
                Payload::ElementSection(section) => {
                    for element in section {
                        if let wasmparser::ElementItems::Functions(items) = element.unwrap().items {
                            table = items.into_iter().map(Result::unwrap).collect();
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => {
                    for operator in body.get_operators_reader().unwrap() {
                        match operator.unwrap() {
                            wasmparser::Operator::I32Const { value } => numbers.push(value),
                            wasmparser::Operator::Call { function_index } => calls.push(function_index),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        let numbers: Vec<i32> = numbers.chunks(4).map(|own| own[3]).collect();
        let name = |function: u32| match function {
            0 => "imported".to_owned(),
            local => numbers[local as usize - 1].to_string(),
        };
        let mut words: Vec<String> = exports
            .iter()
            .map(|export| format!("{} is {}", export.name, name(export.index)))
            .collect();
        words.extend(
            table
                .iter()
                .map(|function| format!("in the table {}", name(*function))),
        );
        let mut called: Vec<String> = (0..4)
            .map(|at| format!("{} calls {}", numbers[at], name(calls[at])))
            .collect();
        called.sort();
        words.extend(called);
        (words, numbers)
    }

    #[test]
    fn twins_meet_and_every_reference_follows() {
        let before = sample();
        let after = by_likeness(&before).unwrap();
        let ((old, _), (new, numbers)) = (meaning(&before), meaning(&after));
        assert_eq!(old, new);
        assert_eq!(numbers, [1_000_000, 1_000_001, 77, 78]);
        assert_eq!(after.len(), before.len());
        assert_eq!(by_likeness(&before).unwrap(), after, "the order is no chance");
    }

    #[test]
    fn twins_are_merged_until_there_are_none() {
        let wasm = chain_of_twins();
        let before = Parts::read(&wasm).unwrap();
        assert_eq!(before.bodies.len(), 4);
        let merged = by_likeness(&wasm).unwrap();
        // The two that are the same are one, and so are then the two that call them.
        assert_eq!(Parts::read(&merged).unwrap().bodies.len(), 2);
        let mut called = Vec::new();
        for payload in Parser::new(0).parse_all(&merged) {
            if let Payload::ExportSection(section) = payload.unwrap() {
                called = section.into_iter().map(|export| export.unwrap().index).collect();
            }
        }
        assert_eq!(called.len(), 2);
        assert_eq!(called[0], called[1]);
    }

    #[test]
    fn every_function_is_there_once() {
        let bodies: Vec<Vec<u8>> = (0..200_u32)
            .map(|n| n.to_le_bytes().repeat(1 + n as usize % 7))
            .collect();
        let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let mut order = chain(&slices);
        order.sort_unstable();
        assert_eq!(order, (0..200).collect::<Vec<_>>());
        assert_eq!(chain(&[]), [0_usize; 0]);
    }
}
